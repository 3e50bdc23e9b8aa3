"""What the page of an experiment shows of its images: funnels, perturbations, leaks, and links to all images."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from touchstone_contracts.values import StepId
from touchstone_runtime.objects import MissingObject

from touchstone_api.dashboard.funnel import Funnel, funnel
from touchstone_api.dashboard.gamma_strips import GammaStrips, gamma_strips
from touchstone_api.dashboard.leaks import LeaksOfPool, leaks_of_pool
from touchstone_api.results.candidates import CandidateReader
from touchstone_api.results.images import ArmAddresses, Selection, parts_of
from touchstone_api.results.reader import ResultsReader
from touchstone_api.results.training_sets import drawn_images

Curated = Mapping[tuple[str, str], StepId]
"""(target, arm) -> the step that curated its pool, of those that have finished."""


def looked_into(reader: ResultsReader, experiment: str, curated: Curated) -> dict[str, Any]:
    """Facts for the page's template."""
    return {
        "curated": sorted(curated),
        "funnels": list(_funnels(reader, experiment, curated)),
        "strips": _strips(reader, experiment, curated),
        "leaks": list(_leaks(reader, experiment, curated)),
        "image_lists": [
            (f"{arm} at {target}", ArmAddresses(experiment, arm, target).list_of(Selection()))
            for target, arm in sorted(curated)
        ],
        "list_address": lambda shown, reason: ArmAddresses(experiment, shown.arm, shown.target).list_of(
            Selection(drop_reason=reason)
        ),
    }


def _funnels(reader: ResultsReader, experiment: str, curated: Curated) -> Iterator[Funnel]:
    spec = reader.planned(experiment).spec
    for (target, arm), step in sorted(curated.items()):
        result = reader.finished.curated(step)
        try:
            drawn = drawn_images(spec, arm, result.counts.kept, partial(reader.finished.pool, step))
        except MissingObject:  # the manifest was lost: the counts are still there
            drawn = ()
        yield funnel(target, arm, result.counts, result.report, drawn)


def _strips(reader: ResultsReader, experiment: str, curated: Curated) -> list[GammaStrips]:
    try:
        return [found for found in gamma_strips(reader, experiment, curated) if found.strips]
    except MissingObject:  # a manifest was lost
        return []


def _leaks(reader: ResultsReader, experiment: str, curated: Curated) -> Iterator[LeaksOfPool]:
    """Of every pool but mixtures, whose parts tell of their own."""
    spec = reader.planned(experiment).spec
    for (target, arm), step in sorted(curated.items()):
        counts = reader.finished.curated(step).counts
        if parts_of(spec, arm) or not counts.leaked + counts.leaked_validation:
            continue
        try:
            yield from leaks_of_pool(CandidateReader(reader, ArmAddresses(experiment, arm, target), step))
        except MissingObject:  # the manifest, or that of a split, was lost
            continue
