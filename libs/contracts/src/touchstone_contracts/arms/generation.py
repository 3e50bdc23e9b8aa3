"""Synthetic images from a text-to-image generator (paper section 2)."""

from typing import Annotated, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator

from touchstone_contracts.arms.prompts import Prompts, Templates
from touchstone_contracts.arms.spec import ArmSpec
from touchstone_contracts.arms.tuning import Tuning
from touchstone_contracts.catalogue import ClassNames
from touchstone_contracts.families import FAMILIES, GeneratorFamily, SchedulerName
from touchstone_contracts.values import Name, Pixels, Seed, Size, Strict, WhenSet, is_none

Steps = Annotated[int, Field(ge=1, le=1000)]
Guidance = Annotated[float, Field(ge=0, le=50)]


class AskedSampler(Strict):
    """How the generator samples, as a spec says it. Bytes depend on `batch_size`, so it is part of the arm and batches
    are padded."""

    scheduler: SchedulerName = "ddim"
    """`own`: the one the generator came with, which flow matching and distilled models need."""
    steps: Annotated[Steps | None, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 1000})] = Field(
        default=50, exclude_if=is_none
    )
    """Left out beside the scheduler `own`: as many as the generator's family takes by default."""
    guidance_scale: Annotated[Guidance | None, WithJsonSchema({"type": "number", "minimum": 0, "maximum": 50})] = Field(
        default=2.0, exclude_if=is_none
    )
    """Left out beside the scheduler `own`: what the generator's family takes by default."""
    negative_prompt: str = Field(default="", max_length=500)
    batch_size: int = Field(default=16, ge=1, le=256)

    @model_validator(mode="before")
    @classmethod
    def _own_scheduler_goes_with_own_settings(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("scheduler") == "own":
            return {"steps": None, "guidance_scale": None} | value
        return value

    @model_validator(mode="after")
    def _other_schedulers_have_numbers(self) -> Self:
        if self.scheduler != "own" and None in (self.steps, self.guidance_scale):
            raise ValueError("steps and guidance_scale are numbers beside every scheduler but `own`")
        return self

    def of_family(self, family: GeneratorFamily | None) -> "Sampler":
        """This sampler with the family's numbers for the settings that were left to it.

        Raises ValueError where the family is not known."""
        missing = [name for name in ("steps", "guidance_scale") if getattr(self, name) is None]
        if missing and family is None:
            raise ValueError(f"{' and '.join(missing)}: say a number, or register the generator with its family")
        found = {name: getattr(FAMILIES[family], name) for name in missing} if family else {}
        return Sampler.model_validate(self.model_dump() | found)


class Sampler(AskedSampler):
    """As a step is told: nothing is left to the family."""

    steps: Steps = 50
    guidance_scale: Guidance = 2.0


class Generation(ArmSpec):
    kind: Literal["generation"] = "generation"
    name: Name
    generator: Name
    images: Size
    """Images asked of the generator before curation, all classes together as in the experiment's sizes."""
    sampler: AskedSampler = AskedSampler()
    prompts: Annotated[Prompts, WhenSet] = Templates()
    image_size: Annotated[Pixels | None, WhenSet] = Field(default=None, multiple_of=8)
    """Pixels. Left out: the size the generator is registered with."""
    stored_size: Annotated[Pixels | None, WhenSet] = None
    """Pixels to which sampled images are reduced before they are stored (the paper: sampled at 512, stored at 256).
    Left out: stored as sampled."""
    tune: Annotated[Tuning | None, WhenSet] = None
    """Left out: the generator as it is registered."""
    names: Annotated[ClassNames, WhenSet] = "given"
    """What prompts call the classes, in tuning too."""
    sampling_seed: Annotated[Seed | None, WhenSet] = None
    """Of its images, and of captions and tuning where it has them; arms that differ in it alone are pools drawn anew.
    Left out: the experiment's."""

    def images_per_class(self, classes: int) -> int:
        """The same for every class, rounded up."""
        return -(-self.images // classes)
