"""Perturbed candidates: the parent's curated pool in shares, one step each."""

from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.steps import PERTURB_IMAGES, ModelRef, PerturbImages

from touchstone_planning.candidates.image_set import PlannedImages, PoolOf
from touchstone_planning.dag import TargetContext
from touchstone_planning.fairness import most_images

IMAGES_PER_SHARE = 1024
"""At most; the number of shares follows from the most images the parent may leave, which retrieval seldom reaches."""


def plan_perturbation(arm: Perturbation, context: TargetContext, role: str, pool_of: PoolOf) -> list[PlannedImages]:
    resolved, target = context.resolved, context.target
    generator = resolved.generator(arm.generator)
    parts = -(-most_images(resolved, target, arm) // IMAGES_PER_SHARE)
    shares = []
    for part in range(parts):
        request = PerturbImages(
            pool=pool_of(arm.parent),
            part=part,
            parts=parts,
            gamma=arm.gamma,
            classes=target.classes,
            templates=target.templates.synthesis,
            prompt=arm.prompt,
            generator=ModelRef.of(generator),
            image_size=generator.image_size,
            sampler=arm.sampler,
            seed=resolved.spec.sampling_seed,
        )
        name = f"[{part + 1}/{parts}]"
        step = context.plan.add(PERTURB_IMAGES, request, f"{role}/perturb{name}")
        shares.append(PlannedImages(step, f"{role}{name}"))
    return shares
