"""What a verdict is made of: predictions as curves, and the comparison that was declared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.values import Digest
from touchstone_contracts.views import ScalingFit, SeedOverlap

from touchstone_verdict.borrowed import SharedSpread
from touchstone_verdict.curves import Curves, first_seeds
from touchstone_verdict.failed_runs import Failure, Validation, find_failures, without_failures
from touchstone_verdict.learning_rates import Choices


@dataclass(frozen=True)
class Evidence:
    """All that the judge looks at."""

    comparison: Comparison
    targets: tuple[str, ...]
    metrics: tuple[Metric, ...]
    sizes: tuple[int, ...]
    arms: tuple[str, ...]
    """Arms that train."""
    baseline: str | None
    """The arm of the untouched encoder."""
    curves: Curves
    """On the comparison's test set, as all below."""
    results_digest: Digest
    elsewhere: Mapping[str, Curves] = field(default_factory=dict)
    """By name: the other test sets' curves, of the targets that have them."""
    labels: Mapping[str, npt.NDArray[np.int32]] = field(default_factory=dict)
    """target -> true class ids of its test images; a target left out is not compared class by class."""
    upstream_images: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """target -> images of each class that an arm found upstream, where one is known to have looked for them."""
    choices: tuple[Choices, ...] = ()
    """Of the two arms compared, wherever both trained."""
    fits: tuple[ScalingFit, ...] | None = None
    """Of `curves`, where they were fitted before."""
    seeds_planned: int | None = None
    """Where only some seeds are in yet; then nothing is shown whose interval supposes that all are."""
    paired: bool = False
    """Both arms of the comparison draw the same images or parents seed by seed, by how they are made."""
    validation: Mapping[tuple[str, str], Validation] = field(default_factory=dict)
    """(target, arm) -> validation accuracies of its runs, that of the untouched encoder included, where known."""
    seed_overlap: tuple[SeedOverlap, ...] = ()
    tells_movement: bool = False
    """Whether to say where training hardly changed the answers of the encoder."""
    warnings: tuple[str, ...] = ()
    experiment: str = ""
    shared_spreads: dict[tuple[int | None, Metric], SharedSpread] = field(
        default_factory=dict, init=False, compare=False
    )
    """By size and metric: computed once for all comparisons that need it."""


def failures_of(evidence: Evidence) -> tuple[Failure, ...]:
    """Of the arms compared."""
    both = (evidence.comparison.a, evidence.comparison.b)
    arms = {cell: found for cell, found in evidence.validation.items() if cell[1] in both}
    return find_failures(arms, untouched_validation(evidence))


def untouched_validation(evidence: Evidence) -> dict[str, float]:
    """Accuracy of the untouched encoder by target."""
    return {
        target: float(np.mean(found.accuracy))
        for (target, arm), found in evidence.validation.items()
        if arm == evidence.baseline
    }


def without_runs(evidence: Evidence, failures: Sequence[Failure]) -> Evidence:
    """As if the seeds of these runs had not been planned, at every size of their arm and target."""
    both = (evidence.comparison.a, evidence.comparison.b)
    together = both if evidence.paired or evidence.comparison.stopping != "fixed" else ()
    return replace(
        evidence,
        curves=without_failures(evidence.curves, failures, together),
        elsewhere={name: without_failures(curves, failures, together) for name, curves in evidence.elsewhere.items()},
        fits=None if failures else evidence.fits,
    )


def of_first_seeds(evidence: Evidence, count: int) -> Evidence:
    validation = {cell: found.of_first_seeds(count) for cell, found in evidence.validation.items()}
    return replace(evidence, curves=first_seeds(evidence.curves, count), validation=validation)
