"""Perturbed candidates: the parent's curated pool in shares, one step each."""

from collections.abc import Iterator

from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.catalogue import Target
from touchstone_contracts.curation import Curation, KeepAll
from touchstone_contracts.problems import FieldError
from touchstone_contracts.steps import PERTURB_IMAGES, PerturbImages
from touchstone_contracts.values import Name

from touchstone_planning.arms.planner import (
    CuratedPlanner,
    Needs,
    Source,
    larger_than_sampled,
    more_than_memory_holds,
    most_images,
    pointer_to,
)
from touchstone_planning.dag import PlannedImages, PoolOf, TargetContext
from touchstone_planning.families import sampler_for, unfit_perturbation
from touchstone_planning.resolved import ResolvedExperiment

IMAGES_PER_SHARE = 1024
"""At most; the number of shares follows from the most images the parent may leave, which retrieval seldom reaches."""


class PerturbationPlanner(CuratedPlanner[Perturbation]):
    spec = Perturbation
    synthetic = True

    def describe(self, arm: Perturbation) -> str:
        return f"images of {arm.parent} noised and denoised by {arm.generator}, gamma {arm.gamma:g}"

    def needs(self, arm: Perturbation) -> Needs:
        return Needs(generator=arm.generator)

    def sources(self, arm: Perturbation) -> Iterator[Source]:
        yield Source("/parent", arm.parent)

    def origin(self, arm: Perturbation) -> Name:
        return arm.parent

    def curation_rules(self, rules: Curation) -> Curation:
        """The parent was filtered and capped, so only the other rules are left."""
        return rules.model_copy(update={"filter": KeepAll(), "per_class_cap": None})

    def impossible(self, arm: Perturbation, resolved: ResolvedExperiment) -> Iterator[FieldError]:
        image_size = resolved.generator(arm.generator).image_size
        yield from larger_than_sampled(arm.stored_size, image_size, pointer_to(arm, resolved))
        yield from more_than_memory_holds(arm.sampler, image_size, pointer_to(arm, resolved))
        yield from unfit_perturbation(arm, resolved.generator(arm.generator), pointer_to(arm, resolved))

    def most_candidates(self, arm: Perturbation, target: Target, resolved: ResolvedExperiment) -> int:
        return most_images(arm, target, resolved)

    def most_images(self, arm: Perturbation, target: Target, resolved: ResolvedExperiment) -> int:
        return most_images(resolved.arm(arm.parent), target, resolved)

    def most_steps(self, arm: Perturbation, target: Target, resolved: ResolvedExperiment) -> int:
        """Each share is perturbed and embedded."""
        return 2 * -(-most_images(arm, target, resolved) // IMAGES_PER_SHARE)

    def plan_candidates(
        self, arm: Perturbation, context: TargetContext, role: str, pool_of: PoolOf
    ) -> list[PlannedImages]:
        resolved, target = context.resolved, context.target
        generator = resolved.generator(arm.generator)
        parts = -(-most_images(arm, target, resolved) // IMAGES_PER_SHARE)
        every_share = PerturbImages(
            pool=pool_of(arm.parent),
            part=0,
            parts=parts,
            gamma=arm.gamma,
            classes=target.classes,
            templates=target.templates.synthesis,
            prompt=arm.prompt,
            generator=context.plan.model(generator),
            image_size=generator.image_size,
            sampler=sampler_for(arm.sampler, generator),
            seed=resolved.spec.sampling_seed,
            stored_size=arm.stored_size,
        )
        shares = []
        for part in range(parts):
            name, request = f"[{part + 1}/{parts}]", every_share.model_copy(update={"part": part})
            step = context.plan.add(PERTURB_IMAGES, request, f"{role}/perturb{name}")
            shares.append(PlannedImages(step, f"{role}{name}"))
        return shares
