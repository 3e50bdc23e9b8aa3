"""Files with a JSON object per line."""

from collections.abc import Iterator
from itertools import count
from typing import Any, BinaryIO

from touchstone_retrieval.ingest.captions import MOST_JSON_BYTES, parsed_json


def json_lines(lines: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """(number from 1, object) of each line that is not blank; None where it holds none or is too long."""
    for number in count(1):
        line = lines.readline(MOST_JSON_BYTES + 1)
        while line and not line.endswith(b"\n") and (more := lines.readline(MOST_JSON_BYTES)):
            # Of a line that is too long the beginning is kept: it is refused all the same.
            if more.endswith(b"\n"):
                break
        if not line:
            return
        if not line.strip():
            continue
        try:
            said = parsed_json(line)
        except ValueError:
            said = None
        yield number, said if isinstance(said, dict) else None
