"""What is not known of images that were made elsewhere, or makes their comparison another one."""

from collections.abc import Iterator, Sequence

from touchstone_contracts.problems import in_words
from touchstone_contracts.steps import GivenImages, JudgeExperiment


def lineage_warnings(request: JudgeExperiment) -> Iterator[str]:
    """One sentence or two for each arm and each lineage that its data sets are declared to have."""
    alike: dict[tuple[str, ...], list[GivenImages]] = {}
    for images in request.given:
        alike.setdefault((images.arm, images.origin, images.made_by, images.trained_on), []).append(images)
    for group in alike.values():
        if words := _words(group, request.upstream or "the upstream"):
            yield words


def _words(group: Sequence[GivenImages], upstream: str) -> str | None:
    """None where the lineage is known and changes nothing."""
    first, datasets = group[0], in_words(list(dict.fromkeys(images.dataset for images in group)), "and")
    if first.origin == "unknown":
        return (
            f"{first.arm} uses images of {datasets}, and it is not known whether these are real or synthetic: the "
            "answer is about these images, not about real or synthetic images in general."
        )
    if first.origin == "real" or first.trained_on == upstream:
        return None
    maker = f" (made by {first.made_by})" if first.made_by else ""
    images = f"{first.arm} uses synthetic images of {datasets}{maker}."
    if not first.trained_on:
        return (
            f"{images} Whether their generator was trained on {upstream} is not known: the comparison with images "
            f"from {upstream} is of these images, not of the generator."
        )
    return (
        f"{images} Their generator was trained on {first.trained_on}, not on {upstream}: the arms draw on different "
        "data, which may explain the difference."
    )
