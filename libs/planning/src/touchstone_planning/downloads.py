"""Images behind found links: one step per class, so that a class does not wait for the servers of another."""

from collections.abc import Sequence

from touchstone_contracts.steps import DOWNLOAD_IMAGES, DownloadImages
from touchstone_contracts.values import StepId

from touchstone_planning.dag import PlannedImages, TargetContext


def placeholder_links_of(context: TargetContext) -> int | None:
    """None in plans of an earlier release, which took every picture."""
    earlier = DOWNLOAD_IMAGES.name in context.plan.contracts
    return None if earlier else context.resolved.upstream.placeholder_links


def are_downloaded(candidates: Sequence[PlannedImages], context: TargetContext) -> bool:
    return all(context.plan.step(images.step).kind == DOWNLOAD_IMAGES.name for images in candidates)


def downloaded(found: StepId, reserve: StepId, context: TargetContext, role: str) -> list[PlannedImages]:
    """`reserve`: what stands in for links of `found` that give no image; the same step again where nothing does."""
    images, hosts = [], context.resolved.hosts_of_links
    placeholder_links = placeholder_links_of(context)
    for label in context.target.classes:
        request = DownloadImages(
            wanted=found, reserve=reserve, class_id=label.id, hosts=hosts, placeholder_links=placeholder_links
        )
        step = context.plan.add(DOWNLOAD_IMAGES, request, f"{role}/download[{label.id}]")
        images.append(PlannedImages(step, f"{role}[{label.id}]"))
    return images
