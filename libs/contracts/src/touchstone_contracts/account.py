"""The account of an ingest: how many images its source held, how many were taken, and which were lost and why."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from touchstone_contracts.values import Lenient

MOST_NAMES = 100
"""Named of the images that a reason holds for; all of them are counted."""
MOST_NAME_CHARACTERS = 200
NAMES_IN_WORDS = 3
MOST_LOSSES = 0.05
"""Share of a source's images that may be refused, where the registration does not say."""
MostLosses = Annotated[float, Field(ge=0, le=1)]
# Control characters, line separators and those that turn the direction of writing: a name may not draw on a terminal.
# Surrogates stand for bytes that are no UTF-8, and cannot be stored.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown_name(name: str) -> str:
    """On one line, without what steers a terminal, and of a long name its end."""
    plain = _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", name)
    return plain if len(plain) <= MOST_NAME_CHARACTERS else f"...{plain[3 - MOST_NAME_CHARACTERS :]}"


class Named(Lenient):
    """How many images something holds for, and the names of the first of them."""

    count: int = Field(ge=1)
    names: tuple[str, ...] = Field(default=(), max_length=MOST_NAMES)
    """In the order of the source, fewer than `count` beyond MOST_NAMES and in results of before there were accounts."""

    @model_validator(mode="after")
    def _names_are_counted(self) -> Self:
        if len(self.names) > self.count:
            raise ValueError(f"{len(self.names)} names of {self.count} images")
        return self

    @property
    def words(self) -> str:
        """ "5 (a.jpg, b.jpg, c.jpg and 2 more)"."""
        named = ", ".join(self.names[:NAMES_IN_WORDS])
        more = self.count - min(len(self.names), NAMES_IN_WORDS)
        if not named:
            return str(self.count)
        return f"{self.count} ({named} and {more} more)" if more else f"{self.count} ({named})"


NamedByReason = dict[str, Named]


class Account(Lenient):
    seen: int = Field(default=0, ge=0)
    """Images that the source held: samples of a shard, rows of a table, image files of a folder."""
    taken: int = Field(default=0, ge=0)
    refused: NamedByReason = Field(default_factory=dict)
    """By reason: `undecodable_image`, `too_large`, ..."""
    notes: NamedByReason = Field(default_factory=dict)
    """What else there is to know by reason: captions that could not be read, files that belong to no image, ..."""

    @model_validator(mode="after")
    def _every_image_is_accounted_for(self) -> Self:
        if self.seen != self.taken + self.losses:
            raise ValueError(f"{self.seen} images were seen, {self.taken} taken and {self.losses} refused")
        return self

    @property
    def losses(self) -> int:
        """Images refused."""
        return sum(named.count for named in self.refused.values())

    @property
    def counts(self) -> dict[str, int]:
        """Images refused, by reason."""
        return {reason: named.count for reason, named in self.refused.items()}

    @property
    def refusals(self) -> str:
        """ "3 of 4 images refused: undecodable image 2 (a.jpg, b.jpg), too large 1 (c.jpg)"; empty without any."""
        return f"{self.losses:,} of {self.seen:,} images refused: {in_reasons(self.refused)}" if self.refused else ""


def in_reasons(found: Mapping[str, Named]) -> str:
    """The most frequent reasons first."""
    frequent = sorted(found.items(), key=lambda entry: (-entry[1].count, entry[0]))
    return ", ".join(f"{reason.replace('_', ' ')} {named.words}" for reason, named in frequent)


def joined(accounts: Iterable[Account]) -> Account:
    """Of several sources together."""
    each = list(accounts)
    return Account(
        seen=sum(account.seen for account in each),
        taken=sum(account.taken for account in each),
        refused=_joined_reasons(account.refused for account in each),
        notes=_joined_reasons(account.notes for account in each),
    )


def _joined_reasons(found: Iterable[Mapping[str, Named]]) -> NamedByReason:
    counts, names = dict[str, int](), dict[str, list[str]]()
    for reason, named in (entry for reasons in found for entry in reasons.items()):
        counts[reason] = counts.get(reason, 0) + named.count
        first = names.setdefault(reason, [])
        first.extend(named.names[: MOST_NAMES - len(first)])
    return {reason: Named(count=counts[reason], names=tuple(names[reason])) for reason in sorted(counts)}
