"""What an experiment leaves out, said with its reason before it runs."""

from typing import Annotated, Literal

from pydantic import Field

from touchstone_contracts.values import Name, Size, Strict

Reason = Annotated[str, Field(min_length=1, max_length=500)]


class ExcludedTarget(Strict):
    """A target that one might expect among the experiment's."""

    kind: Literal["target"] = "target"
    target: Name
    reason: Reason

    @property
    def words(self) -> str:
        return f"target {self.target}"


class ExcludedClass(Strict):
    """A class that the registered target does not have."""

    kind: Literal["class"] = "class"
    target: Name
    class_name: str = Field(min_length=1, max_length=200)
    reason: Reason

    @property
    def words(self) -> str:
        return f"class {self.class_name} of {self.target}"


class ExcludedSize(Strict):
    """A size that one might expect among the experiment's."""

    kind: Literal["size"] = "size"
    size: Size
    reason: Reason

    @property
    def words(self) -> str:
        return f"size {self.size}"


Exclusion = Annotated[ExcludedTarget | ExcludedClass | ExcludedSize, Field(discriminator="kind")]
