"""Base classes and small value types every contract is made of."""

from collections.abc import Sized
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""How people refer to a registered thing or an arm: lower case, digits, dot, dash, underscore."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A sha256 in lower-case hexadecimal."""

STEP = "step"
"""Marks what names a step; see inputs.py."""
StepId = Annotated[Digest, STEP]
"""A step is named by its identity (see identity.py)."""

Fraction = Annotated[float, Field(gt=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]


class Strict(BaseModel):
    """Immutable; unknown fields are refused. For everything a caller writes: specs and requests."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Lenient(BaseModel):
    """Immutable; unknown fields are ignored. For everything a reader receives: results and reports."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Locator:
    """Marks a field that says where bytes lie, not what they are: it is left out of identities."""


class WhenSet:
    """Marks a field that came later and whose default says what was always done: it is left out of identities while
    it holds its default, so that earlier results are still found."""


def is_none(value: object) -> bool:
    """For `exclude_if`: such a field is not written, so that a release that does not know it reads the document."""
    return value is None


def is_empty(value: Sized) -> bool:
    """As `is_none`, for a field that holds several things or nothing."""
    return not value


def is_zero(number: int) -> bool:
    """As `is_none`, of a count."""
    return number == 0


STORED = {"stored": True}
"""Validation context for documents that this or an earlier release stored: what they leave out means what it meant when
they were written."""


class Blob(Lenient):
    """A write-once object named by the sha256 of its bytes."""

    digest: Digest
    size: int = Field(ge=0, description="bytes")
