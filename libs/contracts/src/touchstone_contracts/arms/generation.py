"""Synthetic images from a text-to-image generator (paper section 2)."""

from typing import Annotated, Literal

from pydantic import Field

from touchstone_contracts.arms.prompts import Prompts, Templates
from touchstone_contracts.arms.spec import ArmSpec
from touchstone_contracts.arms.tuning import Tuning
from touchstone_contracts.catalogue import ClassNames
from touchstone_contracts.values import Name, Pixels, Seed, Size, Strict, WhenSet


class Sampler(Strict):
    """How the generator samples. Bytes depend on `batch_size`, so it is part of the arm and batches are padded."""

    scheduler: Literal["ddim", "dpm_solver", "euler", "pndm", "unipc"] = "ddim"
    steps: int = Field(default=50, ge=1, le=1000)
    guidance_scale: float = Field(default=2.0, ge=0, le=50)
    negative_prompt: str = Field(default="", max_length=500)
    batch_size: int = Field(default=16, ge=1, le=256)


class Generation(ArmSpec):
    kind: Literal["generation"] = "generation"
    name: Name
    generator: Name
    images: Size
    """Images asked of the generator before curation, all classes together as in the experiment's sizes."""
    sampler: Sampler = Sampler()
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
