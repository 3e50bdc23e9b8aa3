"""Predictions made elsewhere, read from a Parquet or CSV file. Needs the extra `touchstone-lab[judge]`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from touchstone_verdict.predictions import CLUSTER, COLUMNS, METRIC, OPTIONAL, Predictions

from touchstone.documents import UnreadableDocument

TEXTS = ("arm", "target", "test_set", "image", METRIC, CLUSTER)


def read_predictions(path: Path) -> Predictions:
    """The columns that a verdict looks at, of those that are there. Raises UnreadableDocument."""
    read = READERS.get(path.suffix)
    if read is None:
        raise UnreadableDocument(f"{path}: predictions are read from files that end in {' or '.join(READERS)}")
    if not path.is_file():
        raise UnreadableDocument(f"{path} is not a file; give the predictions in a file that is there")
    try:
        table = read(path)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableDocument(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error
    return {name: _values(table[name]) for name in (*COLUMNS, *OPTIONAL) if name in table.column_names}


def _read_csv(path: Path) -> pa.Table:
    """Ids and names stay texts, whatever they look like."""
    options = pyarrow.csv.ConvertOptions(column_types={name: pa.string() for name in TEXTS}, strings_can_be_null=True)
    return pyarrow.csv.read_csv(path, convert_options=options)


def _read_parquet(path: Path) -> pa.Table:
    there = [name for name in (*COLUMNS, *OPTIONAL) if name in pyarrow.parquet.read_schema(path).names]
    return pyarrow.parquet.read_table(path, columns=there, read_dictionary=[name for name in TEXTS if name in there])


READERS: dict[str, Callable[[Path], pa.Table]] = {".parquet": _read_parquet, ".csv": _read_csv}


def _values(column: pa.ChunkedArray) -> npt.ArrayLike:
    """Rows that say the same share one text: millions of them name a few arms and some thousand images."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.dictionary_encode()
    if not pa.types.is_dictionary(column.type):
        return column.to_numpy()
    coded = column.combine_chunks()
    texts = np.array([*coded.dictionary.to_pylist(), None], dtype=object)
    return texts[coded.indices.fill_null(len(texts) - 1).to_numpy()]
