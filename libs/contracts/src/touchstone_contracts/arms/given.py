"""Images that somebody brings."""

from typing import Literal, Self

from pydantic import Field, model_validator

from touchstone_contracts.arms.spec import ArmSpec
from touchstone_contracts.values import Name


class Given(ArmSpec):
    """Registered data sets of labelled images, curated by the same rules as every arm; labels are taken as they are."""

    kind: Literal["given"] = "given"
    name: Name
    datasets: tuple[Name, ...] = Field(min_length=1, max_length=100)
    """Each belongs to a target; every target of the experiment needs one, and several are put together."""

    @model_validator(mode="after")
    def _datasets_are_named_once(self) -> Self:
        if len(set(self.datasets)) != len(self.datasets):
            raise ValueError("datasets must not repeat a name")
        return self
