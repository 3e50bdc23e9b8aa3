"""What strategies return: findings in order, and a report of what happened to the rest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import pyarrow as pa


class Finding(NamedTuple):
    class_id: int
    row: int
    """Position in the upstream."""
    found_by: str
    """Strategy, index or mode, and number of the query or template: `semantic/image/0`, `text_match/phrase/1`."""
    similarity: float
    """Cosine at retrieval, NaN for text matches."""
    query: str = ""
    """The text or pattern that was asked; none for a random draw."""


FOUND = pa.schema(
    [
        ("class_id", pa.int32()),
        ("row", pa.int64()),
        ("found_by", pa.string()),
        ("similarity", pa.float64()),
        ("query", pa.string()),
    ]
)
"""Findings as columns, which is how those of a whole target are kept: as objects they would be millions that the
garbage collector looks through again and again."""
assert tuple(FOUND.names) == Finding._fields


def found_table(findings: Sequence[Finding]) -> pa.Table:
    columns = [[finding[index] for finding in findings] for index in range(len(FOUND))]
    return pa.table(columns, schema=FOUND)


class Asked(NamedTuple):
    """A query of a class, and what was looked for in captions."""

    class_id: int
    query: str
    searched: str
    """Words as captions are compared by, or the pattern."""
    captions: int
    """Captions that it found, at most as many as the strategy asks for."""


ASKED = pa.schema(
    [("class_id", pa.int32()), ("query", pa.string()), ("searched", pa.string()), ("captions", pa.int64())]
)
assert tuple(ASKED.names) == Asked._fields


def asked_table(asked: Sequence[Asked]) -> pa.Table:
    return pa.table([[each[index] for each in asked] for index in range(len(ASKED))], schema=ASKED)


@dataclass(frozen=True)
class FindingReport:
    """`requested` = `found_again` + `near_duplicate` + `too_far` + `named_another` + `kept` + what the upstream could
    not give."""

    requested: int = 0
    """Results asked of the index in total."""
    found_again: int = 0
    """Hits of an image its class had already."""
    kept: int = 0
    near_duplicate: int = 0
    """Hits too similar to a better one of the same query, where the strategy joins such."""
    too_far: int = 0
    """Hits too far below the best of their query."""
    named_another: int = 0
    """Hits whose captions match another class and not this one."""
    asked: tuple[Asked, ...] = ()
    """Of words of captions."""

    def __add__(self, other: "FindingReport") -> "FindingReport":
        return FindingReport(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def rejected(self) -> dict[str, int]:
        """By reason; reasons that only some strategies have, where there are any."""
        some = {
            "near_duplicate": self.near_duplicate,
            "too_far_below_best": self.too_far,
            "caption_of_another_class": self.named_another,
        }
        return {"found_again": self.found_again} | {reason: count for reason, count in some.items() if count}


Findings = tuple[list[Finding], FindingReport]


def first_of_each_image(findings: Iterable[Finding], image_ids: Sequence[str]) -> tuple[list[Finding], int]:
    """An image counts once within a class, its first finding stays; also how many went.

    An image is its bytes (`image_ids[row]`), so two rows with the same bytes are one image. An image found for two
    classes stays in both, as in the paper."""
    seen: set[tuple[int, str]] = set()
    first, again = [], 0
    for finding in findings:
        image = (finding.class_id, image_ids[finding.row])
        if image in seen:
            again += 1
        else:
            seen.add(image)
            first.append(finding)
    return first, again
