"""What an arm asks of a generator against what the generator's family can do.

Nothing is refused here where the generator is registered without its family: the worker that loads it refuses then."""

from collections.abc import Iterator

from touchstone_contracts.arms.generation import AskedSampler, Generation, Sampler
from touchstone_contracts.arms.perturbation import Perturbation, no_step
from touchstone_contracts.arms.prompts import Templates
from touchstone_contracts.catalogue import Generator
from touchstone_contracts.families import FAMILIES
from touchstone_contracts.problems import FieldError

CLASS_NAME_ALONE = ("{name}",)
"""What a generator that is told classes takes instead of the target's templates."""


def sampler_for(asked: AskedSampler, generator: Generator) -> Sampler:
    """With the numbers of the generator's family where the spec leaves them to it. Raises ValueError for what
    `unfit_sampler` refuses."""
    return asked.of_family(generator.family)


def unfit_sampler(asked: AskedSampler, generator: Generator, pointer: str) -> Iterator[FieldError]:
    """An error for each setting of the sampler that the family does not have; `pointer`: JSON pointer to the arm."""
    try:
        sampler_for(asked, generator)
    except ValueError as error:
        yield FieldError(pointer=f"{pointer}/sampler", detail=str(error))
    if generator.family is None:
        return
    family, named = FAMILIES[generator.family], f"{generator.name!r} is of the family {generator.family}"
    if asked.scheduler not in family.schedulers:
        known = ", ".join(sorted(family.schedulers))
        detail = f"{named}, which cannot sample with {asked.scheduler}; it can with: {known}"
        yield FieldError(pointer=f"{pointer}/sampler/scheduler", detail=detail)
    if asked.negative_prompt and not family.negative_prompts:
        detail = f"{named}, which has no negative prompts; leave it out"
        yield FieldError(pointer=f"{pointer}/sampler/negative_prompt", detail=detail)


def unfit_generation(arm: Generation, generator: Generator, pointer: str) -> Iterator[FieldError]:
    """As `unfit_sampler`, of a whole arm."""
    yield from unfit_sampler(arm.sampler, generator, pointer)
    if generator.family is None:
        return
    family, named = FAMILIES[generator.family], f"{generator.name!r} is of the family {generator.family}"
    if arm.tune is not None and not family.tunes:
        able = ", ".join(name for name, other in FAMILIES.items() if other.tunes)
        yield FieldError(pointer=f"{pointer}/tune", detail=f"{named}, which cannot be tuned here; these can: {able}")
    if not family.prompts and not isinstance(arm.prompts, Templates):
        detail = f"{named}, which is told classes and no captions; leave the prompts out"
        yield FieldError(pointer=f"{pointer}/prompts", detail=detail)


def unfit_perturbation(arm: Perturbation, generator: Generator, pointer: str) -> Iterator[FieldError]:
    """As `unfit_sampler`, of a whole arm. At gamma 0 nothing is asked of the generator."""
    yield from unfit_sampler(arm.sampler, generator, pointer)
    if generator.family is None or arm.gamma == 0:
        return
    family = FAMILIES[generator.family]
    if not family.perturbs:
        able = ", ".join(name for name, other in FAMILIES.items() if other.perturbs)
        detail = (
            f"{generator.name!r} is of the family {generator.family}, which has no image to image; these have: {able}"
        )
        yield FieldError(pointer=f"{pointer}/generator", detail=detail)
    elif arm.sampler.steps is None and (objection := no_step(family.steps, arm.gamma)):
        yield FieldError(pointer=f"{pointer}/gamma", detail=objection)


def told_classes(generator: Generator) -> bool:
    """Whether it takes the name of a class instead of a prompt."""
    return generator.family is not None and not FAMILIES[generator.family].prompts
