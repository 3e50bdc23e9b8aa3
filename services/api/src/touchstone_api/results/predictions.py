"""Predictions of an experiment as a table: what its verdict was computed from, for whoever wants to compute it again.

The columns are those of `touchstone_verdict.judge.judge`, so that `touchstone judge` reads the file."""

import io
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple

from touchstone_contracts.layout import Cell, SplitStep
from touchstone_contracts.steps import EncoderEvaluated
from touchstone_runtime.finished import FinishedSteps, cluster_names
from touchstone_verdict.results import Evaluations, exhausted

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = ("arm", "target", "test_set", "metric", "image", "cluster")


def predictions_file(evaluations: Evaluations, steps: FinishedSteps) -> bytes:
    """A parquet file, one row group for each finished evaluation on each test set in each metric. Some hundred bytes
    for a thousand predictions: whole, so that what cannot be read is answered with a problem and not with half a file.

    There are clusters where a test set has some (of one that has none, every image is one), and accuracies on
    validation where every run has one. Raises MissingObject where something was lost from the object store."""
    import pyarrow.parquet as pq

    written = io.BytesIO()
    schema = _schema(_left_out(evaluations))
    with pq.ParquetWriter(written, schema, compression="zstd") as writer:
        for table in _tables(evaluations, steps):
            writer.write_table(table.select(schema.names).cast(schema))
    return written.getvalue()


def _left_out(evaluations: Evaluations) -> set[str]:
    """Columns that say nothing, or not of every run."""
    clustered = any(split.cluster is not None for split in evaluations.layout.tests)
    validated = all(result.validation_accuracy is not None for _, result in evaluations if not exhausted(result))
    return {name for name, there in (("cluster", clustered), ("validation", validated)) if not there}


def _schema(left_out: Collection[str]) -> "pa.Schema":
    import pyarrow as pa

    others = {"size": pa.int64(), "seed": pa.int64(), "correct": pa.bool_(), "validation": pa.float64()}
    columns = dict.fromkeys(TEXTS, pa.dictionary(pa.int32(), pa.string())) | others
    return pa.schema([(name, kind) for name, kind in columns.items() if name not in left_out])


class TestSet(NamedTuple):
    """The columns that are the same for every run."""

    split: SplitStep
    image: "pa.Array"
    """Keys of the test images in their source, in the order of predictions."""
    cluster: "pa.Array"


def _tables(evaluations: Evaluations, steps: FinishedSteps) -> Iterator["pa.Table"]:
    runs = [(cell, result) for cell, result in evaluations if not exhausted(result)]
    for split in evaluations.layout.tests:
        own = [(cell, result) for cell, result in runs if cell.target == split.target]
        if own:
            tested = _test_set(split, steps)
            for cell, result in own:
                yield from _of_run(cell, result, tested, steps)


def _test_set(split: SplitStep, steps: FinishedSteps) -> TestSet:
    import pyarrow as pa

    image = pa.array(steps.split_texts(split.step, "source_key"))
    cluster = image if split.cluster is None else pa.array(cluster_names(split.cluster, split.step, steps))
    return TestSet(split, image, cluster)


def _of_run(cell: Cell, result: EncoderEvaluated, tested: TestSet, steps: FinishedSteps) -> Iterator["pa.Table"]:
    """One table for each metric."""
    import pyarrow as pa

    found = result.tests[tested.split.test_set]
    assert found.labels is not None  # every evaluation that trained has them
    labels, *predicted = steps.arrays([found.labels, *(each.classes for each in found.predictions.values())])
    run = {
        "arm": cell.arm,
        "target": cell.target,
        "test_set": tested.split.test_set,
        "size": cell.size,
        "seed": cell.seed,
        "validation": result.validation_accuracy,
    }
    for metric, classes in zip(found.predictions, predicted, strict=True):
        columns = {"image": tested.image, "cluster": tested.cluster, "correct": pa.array(classes == labels)}
        same = {name: pa.repeat(value, len(labels)) for name, value in (run | {"metric": metric}).items()}
        yield pa.table(columns | same)
