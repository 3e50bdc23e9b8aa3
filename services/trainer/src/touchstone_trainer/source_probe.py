"""Loading what a probe of sources looks at, and asking each encoder."""

from dataclasses import dataclass

import numpy as np
import torch
from touchstone_contracts.source_probe import Reliance, SourceProbe
from touchstone_contracts.steps import ADAPT_ENCODER, CURATE_IMAGES, ProbeSources
from touchstone_runtime.randomness import rng_for
from touchstone_runtime.training_sets import kept_pool

from touchstone_trainer.checkpoints import load_weights
from touchstone_trainer.classifier import ImageClassifier
from touchstone_trainer.evaluation.selection import Candidate, select_run
from touchstone_trainer.evaluation.sources import erasure, paired_by_class, separability
from touchstone_trainer.evaluation.zero_shot import accuracy, embed_split, predict
from touchstone_trainer.pixels import POOL_COLUMNS, EvaluationImages, as_evaluated, load_training_images
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
    seen = _features(untouched, sources)
    apart = separability(*seen, sources.origins, rng_for("sources", "folds"))
    return SourceProbe(
        images=len(sources.first.class_ids),
        auc=round(apart.auc, 6),
        auc_error=round(apart.error, 6),
        untouched=None
        if request.encoder.kind != "clip"
        else _reliance(untouched, seen, sources, request, tools, frozen=True),
        adapted=(_of_run(0, sources, request, tools), _of_run(1, sources, request, tools)),
    )


def _read_sources(request: ProbeSources, tools: Tools) -> Sources | None:
    sets = [tools.artifacts.result(CURATE_IMAGES, step).images for step in request.pools]
    manifests = [tools.artifacts.get_table(image_set.manifest, POOL_COLUMNS) for image_set in sets]
    pools = [kept_pool(manifest) for manifest in manifests]
    both = set(pools[0].ids) & set(pools[1].ids)
    own = [pool.take(np.array([image not in both for image in pool.ids], dtype=bool).nonzero()[0]) for pool in pools]
    chosen = paired_by_class(own[0].class_ids, own[1].class_ids, MOST_IMAGES, rng_for("sources", "images"))
    if len(chosen[0]) < FEWEST_IMAGES:
        return None
    drawn = [pool.take(positions) for pool, positions in zip(own, chosen, strict=True)]
    tower = tools.tower(request.encoder)
    first, second = (
        as_evaluated(
            load_training_images(tools.artifacts, manifest.take(pool.rows), image_set, tools.decoded),
            tower,
            tools.loader,
        ).held()
        for image_set, manifest, pool in zip(sets, manifests, drawn, strict=True)
    )
    return Sources(first, second, np.array([*drawn[0].origins, *drawn[1].origins]))


def _features(classifier: ImageClassifier, sources: Sources) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) of either source."""
    first, second = (embed_split(classifier, images).cpu().numpy() for images in (sources.first, sources.second))
    return first, second


def _of_run(arm: int, sources: Sources, request: ProbeSources, tools: Tools) -> Reliance | None:
    """Of the first or the second arm; None where it did not reach the size."""
    runs = [Candidate(run, tools.artifacts.result(ADAPT_ENCODER, run.step)) for run in request.adaptations[arm]]
    if any(run.result.weights is None for run in runs):
        return None
    chosen = select_run(runs, request.seed).result.weights
    assert chosen is not None  # those without were answered before
    classifier = tools.classifier(request.encoder, request.classes, request.templates)
    frozen = not load_weights(classifier, tools.artifacts.get_blob(chosen))
    return _reliance(classifier, _features(classifier, sources), sources, request, tools, frozen=frozen)


def _reliance(
    classifier: ImageClassifier,
    seen: tuple[np.ndarray, np.ndarray],
    sources: Sources,
    request: ProbeSources,
    tools: Tools,
    *,
    frozen: bool,
) -> Reliance:
    """`seen`: the sources' features by the same classifier; `frozen`: whether its tower is the untouched one."""
    test = tools.embedded_split(request.test, request.encoder, len(request.classes), classifier, frozen=frozen)
    features = test.features.cpu().numpy()
    device = classifier.head.weight.device

    def right(changed: np.ndarray) -> float:
        return accuracy(predict(classifier.head, torch.from_numpy(changed).to(device)), test.class_ids)

    found = erasure(*seen, sources.first.class_ids, features, right, rng_for("sources", "shuffles"))
    return Reliance(**{name: round(value, 6) for name, value in found._asdict().items()})
