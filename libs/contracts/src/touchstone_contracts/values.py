"""Base classes and small value types every contract is made of."""

from collections.abc import Sized
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""How people refer to a registered thing or an arm: lower case, digits, dot, dash, underscore."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A sha256 in lower-case hexadecimal."""

STEP = "step"
"""Marks what names a step; see inputs.py."""
StepId = Annotated[Digest, STEP]
"""A step is named by its identity (see identity.py)."""

MOST_CLASSES = 10_000
"""Of a target, and so of what a spec says class by class."""
MOST_IMAGES = 100_000_000
"""That an experiment asks for at once."""
MOST_SOURCE_IMAGES = 1_000_000_000_000
"""In a file or table that somebody registers."""
MOST_ERRORS = 100
"""Listed of a document; the others are counted."""

Title = Annotated[str, StringConstraints(min_length=1, max_length=200)]
"""How people call an experiment."""
Tag = Annotated[str, StringConstraints(pattern=r"^[^\s,](?:[^,]{0,62}[^\s,])?$")]
"""A word or a few by which people find experiments; without commas."""

LongText = Annotated[str, StringConstraints(max_length=10_000)]
"""What somebody says about an entry, for people."""
ClassKey = Annotated[str, StringConstraints(max_length=200)]
"""A display name (every class so named) or a class id in digits."""
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Size = Annotated[int, Field(ge=1, le=MOST_IMAGES)]
SourceImages = Annotated[int, Field(gt=0, le=MOST_SOURCE_IMAGES)]
Pixels = Annotated[int, Field(gt=0, le=2048)]
"""Of a side of an image that is sampled or stored."""
WeightDecay = Annotated[float, Field(ge=0, le=1000)]
GradientClip = Annotated[float, Field(gt=0, le=1_000_000)]
WarmupUpdates = Annotated[int, Field(ge=0, le=100_000_000)]

Fraction = Annotated[float, Field(gt=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]


class One(tuple):  # type: ignore[type-arg]  # of whatever its field holds
    """What a list became that was written as a single value: errors point to the field and to no item of it."""

    __slots__ = ()


class Strict(BaseModel):
    """Immutable; unknown fields are refused. For everything a caller writes: specs and requests."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="forbid", allow_inf_nan=False)


class Posted(Strict):
    """What is the body of a request. Of many errors the first are listed, and a last one counts the others."""

    @model_validator(mode="wrap")
    @classmethod
    def _few_errors(cls, value: object, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(value)
        except ValidationError as error:
            if error.error_count() <= MOST_ERRORS:
                raise
            raise first_errors(error) from None


def first_errors(error: ValidationError) -> ValidationError:
    """The first MOST_ERRORS, and one more that counts the others."""
    details = error.errors(include_url=False, include_input=False)
    listed = [
        InitErrorDetails(
            type=PydanticCustomError(detail["type"], detail["msg"], detail.get("ctx")), loc=detail["loc"], input=None
        )
        for detail in details[:MOST_ERRORS]
    ]
    others = PydanticCustomError("too_many_errors", f"{len(details) - MOST_ERRORS:,} more errors are not listed")
    return ValidationError.from_exception_data(
        error.title, [*listed, InitErrorDetails(type=others, loc=(), input=None)]
    )


class Lenient(BaseModel):
    """Immutable; unknown fields are ignored. For everything a reader receives: results and reports."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="ignore")


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
