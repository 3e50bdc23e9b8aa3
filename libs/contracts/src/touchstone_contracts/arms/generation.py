"""Synthetic images from a text-to-image generator (paper section 2)."""

from typing import Literal

from pydantic import Field

from touchstone_contracts.values import Name, Strict


class Sampler(Strict):
    """How the generator samples. Bytes depend on `batch_size`, so it is part of the arm and batches are padded."""

    scheduler: Literal["ddim", "dpm_solver", "euler"] = "ddim"
    steps: int = Field(default=50, ge=1, le=1000)
    guidance_scale: float = Field(default=2.0, ge=0, le=50)
    negative_prompt: str = Field(default="", max_length=500)
    batch_size: int = Field(default=16, ge=1, le=256)


class Generation(Strict):
    kind: Literal["generation"] = "generation"
    name: Name
    generator: Name
    images: int = Field(ge=1, le=100_000_000)
    """Images asked of the generator before curation, all classes together as in the experiment's sizes."""
    sampler: Sampler = Sampler()

    def images_per_class(self, classes: int) -> int:
        """The same for every class, rounded up."""
        return -(-self.images // classes)
