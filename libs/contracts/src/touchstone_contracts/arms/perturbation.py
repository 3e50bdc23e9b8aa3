"""Images noised and denoised by a generator: SDEdit (paper section 2.3)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from touchstone_contracts.arms.generation import AskedSampler
from touchstone_contracts.arms.spec import ArmSpec
from touchstone_contracts.values import Name, Pixels, WhenSet

PerturbationPrompt = Literal["class_name", "template", "caption"]
"""The class name alone (the paper), the target's first synthesis template with it, or the parent image's caption."""


class Perturbation(ArmSpec):
    """Every image of the parent's curated pool, perturbed by `gamma`; a gamma sweep is one arm per value.

    The paper perturbs the filtered images, so the parent's pool is the source and its filter and cap are not applied a
    second time: choosing by score again would prefer the images that changed least and hide what gamma does. Leaks and
    near-duplicates are still looked for.

    gamma = 0 skips diffusion: the parent image, decoded and resized (bicubic, squashed to the generator's square), is
    stored as PNG. Pixels are the parent's where it has that size already."""

    kind: Literal["perturbation"] = "perturbation"
    name: Name
    parent: Name
    """Another arm of the experiment that yields images."""
    gamma: float = Field(ge=0, le=1)
    """Share of the noise schedule that is undone and denoised again; floor(steps x gamma) steps are computed."""
    generator: Name
    prompt: PerturbationPrompt = "class_name"
    sampler: AskedSampler = AskedSampler()
    stored_size: Annotated[Pixels | None, WhenSet] = None
    """Pixels to which perturbed images are reduced before they are stored. Left out: the generator's size."""

    @model_validator(mode="after")
    def _gamma_reaches_a_step(self) -> Self:
        if objection := no_step(self.sampler.steps, self.gamma):
            raise ValueError(objection)
        return self


def no_step(steps: int | None, gamma: float) -> str:
    """Why `gamma` cannot be had with so many steps; empty if it can, or where the generator's family says them."""
    if steps is None or gamma == 0 or int(steps * gamma) >= 1:
        return ""
    return f"gamma {gamma:g} of {steps} steps is no step; use more steps or 0"
