"""Loading what a probe of sources looks at, and asking each encoder."""

from dataclasses import dataclass

import numpy as np
import torch
from touchstone_contracts.source_probe import Reliance, SourceProbe
from touchstone_contracts.steps import ADAPT_ENCODER, CURATE_IMAGES, ProbeSources
from touchstone_contracts.values import StepId
from touchstone_runtime.randomness import rng_for

from touchstone_trainer.checkpoints import load_weights
from touchstone_trainer.classifier import ImageClassifier
from touchstone_trainer.evaluation.selection import Candidate, select_run
from touchstone_trainer.evaluation.sources import erasure, paired_by_class, separability
from touchstone_trainer.evaluation.zero_shot import accuracy, embed_split, predict
from touchstone_trainer.pixels import EvaluationImages, as_evaluated, load_training_images
from touchstone_trainer.subsets import Pool, kept_pool
from touchstone_trainer.tools import Tools

MOST_IMAGES = 1000
"""Of each arm."""
FEWEST_IMAGES = 20
"""Four in each fold."""


@dataclass(frozen=True)
class Sources:
    """As many images of each class from both arms, row by row of the same class."""

    first: EvaluationImages
    second: EvaluationImages
    origins: np.ndarray
    """(2n,) what each was perturbed from, of others the image itself; those of `first` before those of `second`."""


def probe_pools(request: ProbeSources, tools: Tools) -> SourceProbe | None:
    """None with fewer than FEWEST_IMAGES. Raises MissingObject when a pool or a run was lost."""
    sources = _read_sources(request, tools)
    if sources is None:
        return None
    untouched = tools.classifier(request.encoder, request.classes, request.templates)
    first, second = (embed_split(untouched, images).cpu().numpy() for images in (sources.first, sources.second))
    apart = separability(first, second, sources.origins, rng_for("sources", "folds"))
    return SourceProbe(
        images=len(first),
        auc=round(apart.auc, 6),
        auc_error=round(apart.error, 6),
        untouched=None if request.encoder.kind != "clip" else _reliance(untouched, sources, request, tools),
        adapted=(_of_run(0, sources, request, tools), _of_run(1, sources, request, tools)),
    )


def _read_sources(request: ProbeSources, tools: Tools) -> Sources | None:
    pools = [_pool(step, tools) for step in request.pools]
    both = set(pools[0].ids) & set(pools[1].ids)
    own = [pool.take(np.array([image not in both for image in pool.ids], dtype=bool).nonzero()[0]) for pool in pools]
    chosen = paired_by_class(own[0].class_ids, own[1].class_ids, MOST_IMAGES, rng_for("sources", "images"))
    if len(chosen[0]) < FEWEST_IMAGES:
        return None
    drawn = [pool.take(positions) for pool, positions in zip(own, chosen, strict=True)]
    first, second = (_images(step, pool, request, tools) for step, pool in zip(request.pools, drawn, strict=True))
    return Sources(first, second, np.array([*drawn[0].origins, *drawn[1].origins]))


def _pool(step: StepId, tools: Tools) -> Pool:
    return kept_pool(tools.artifacts.get_table(tools.artifacts.result(CURATE_IMAGES, step).images.manifest))


def _images(step: StepId, pool: Pool, request: ProbeSources, tools: Tools) -> EvaluationImages:
    image_set = tools.artifacts.result(CURATE_IMAGES, step).images
    rows = tools.artifacts.get_table(image_set.manifest).take(pool.rows)
    training = load_training_images(tools.artifacts, rows, image_set, tools.decoded, tools.decoded_budget)
    return as_evaluated(training, tools.tower(request.encoder))


def _of_run(arm: int, sources: Sources, request: ProbeSources, tools: Tools) -> Reliance | None:
    """Of the first or the second arm; None where it did not reach the size."""
    runs = [Candidate(run, tools.artifacts.result(ADAPT_ENCODER, run.step)) for run in request.adaptations[arm]]
    if any(run.result.weights is None for run in runs):
        return None
    chosen = select_run(runs, request.seed).result.weights
    assert chosen is not None  # those without were answered before
    classifier = tools.classifier(request.encoder, request.classes, request.templates)
    load_weights(classifier, tools.artifacts.get_blob(chosen))
    return _reliance(classifier, sources, request, tools)


def _reliance(classifier: ImageClassifier, sources: Sources, request: ProbeSources, tools: Tools) -> Reliance:
    test = tools.split(request.test, request.encoder, len(request.classes))
    first, second, features = (
        embed_split(classifier, images).cpu().numpy() for images in (sources.first, sources.second, test)
    )
    device = classifier.head.weight.device

    def right(changed: np.ndarray) -> float:
        return accuracy(predict(classifier.head, torch.from_numpy(changed).to(device)), test.class_ids)

    found = erasure(first, second, sources.first.class_ids, features, right, rng_for("sources", "shuffles"))
    return Reliance(**{name: round(value, 6) for name, value in found._asdict().items()})
