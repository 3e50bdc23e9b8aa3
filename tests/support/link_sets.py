"""What a retrieval from a table of links leaves behind."""

from collections.abc import Sequence

import pyarrow as pa
from support.generator_worker import store_result
from touchstone_contracts.steps import RETRIEVE_IMAGES, ImagesFound
from touchstone_retrieval.ingest.link_table import link_id
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import SCHEMA, save_image_set, with_all_columns


def store_links(artifacts: Artifacts, name: str, urls: Sequence[str]) -> str:
    """The result of a retrieval from a table of links."""
    rows = [
        {"id": link_id(url), "class_id": 0, "source_key": url, "found_by": "semantic", "similarity": 1 - number / 100}
        for number, url in enumerate(urls)
    ]
    blank = {"caption": "", "shard": "", "offset": -1, "length": 0, "width": 0, "height": 0, "source_kind": "upstream"}
    schema = pa.schema([SCHEMA.field(column) for column in (*rows[0], *blank)])
    table = with_all_columns(pa.Table.from_pylist([row | blank for row in rows], schema))
    images = save_image_set(artifacts, table, ())
    step = link_id(name)
    store_result(artifacts, step, RETRIEVE_IMAGES.name, ImagesFound(images=images, requested=len(rows)))
    return step
