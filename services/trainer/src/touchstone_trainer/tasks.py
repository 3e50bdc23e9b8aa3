"""The trainer's handlers: one adapter per contract."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import MAIN_TEST_SET
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    CURATE_IMAGES,
    EVALUATE_ENCODER,
    PROBE_SOURCES,
    AdaptEncoder,
    EncoderAdapted,
    EncoderEvaluated,
    EvaluateEncoder,
    Predictions,
    ProbeSources,
    SourcesProbed,
    Tested,
)
from touchstone_runtime.class_names import with_names
from touchstone_runtime.logs import get_logger
from touchstone_runtime.serving import Handlers, Progress
from touchstone_runtime.training_sets import draw_training_set, kept_pool, largest_size, training_set_digest

from touchstone_trainer.checkpoints import dump_weights, load_weights
from touchstone_trainer.classifier import ImageClassifier
from touchstone_trainer.determinism import repeatable
from touchstone_trainer.evaluation.metrics import calibration_error, macro_accuracy, summed_up
from touchstone_trainer.evaluation.selection import Candidate, select_run
from touchstone_trainer.evaluation.zero_shot import accuracy, predict, predict_probabilities
from touchstone_trainer.pixels import POOL_COLUMNS, TrainingImages, load_training_images, require_classes
from touchstone_trainer.probes import Head, Probes
from touchstone_trainer.recipes.gradient import Run
from touchstone_trainer.recipes.loop import Adapted
from touchstone_trainer.recipes.registry import adapt
from touchstone_trainer.recipes.subject import Data, Subject
from touchstone_trainer.soft_labels import loss_weights
from touchstone_trainer.source_probe import probe_pools
from touchstone_trainer.tools import Tools

log = get_logger(__name__)
handlers: Handlers[Tools] = Handlers("trainer")


@handlers.serve(ADAPT_ENCODER, progress_counts="updates")
def adapt_encoder(request: AdaptEncoder, tools: Tools, progress: Progress) -> EncoderAdapted:
    """One run: (arm, size, seed, learning rate). A pool that is too small is a result, not an error."""
    request = with_names(request, tools.artifacts)
    image_set = tools.artifacts.result(CURATE_IMAGES, request.pool).images
    manifest = tools.artifacts.get_table(image_set.manifest, POOL_COLUMNS)
    pool = kept_pool(manifest)
    available = largest_size(pool, request.mixing)
    if available < request.size:
        return EncoderAdapted(available=available, weights=None)
    positions = draw_training_set(pool, request.size, request.subset_seed, request.rules, request.mixing)
    require_classes(pool.class_ids[positions], len(request.classes), "the curated pool")
    rows = manifest.take(pool.rows[positions])
    training = load_training_images(tools.artifacts, rows, image_set, tools.decoded)
    data = Data(
        training=replace(training, weights=loss_weights(pool.parts[positions], request.mixing)),
        validation=tools.split(request.validation, request.encoder, len(request.classes)),
        loader=tools.loader,
        target=_target_images(request, tools),
        frozen_validation=partial(_frozen_validation, request, tools),
    )
    adapted = repeatable(partial(_adapted_anew, request, data, tools, progress), tools.tower(request.encoder).device)
    log.info("encoder.adapted", size=request.size, updates=adapted.updates, best_epoch=adapted.best_epoch)
    return EncoderAdapted(
        available=available,
        images=len(positions),
        weights=tools.artifacts.put_blob(dump_weights(adapted.weights)),
        training_set=training_set_digest(pool, positions),
        updates=adapted.updates,
        peak_lr_fraction=adapted.peak_lr_fraction,
        mixing_weight=adapted.mixing_weight,
        best_epoch=adapted.best_epoch,
        epochs=adapted.epochs,
        first_stage=adapted.first_stage,
    )


def _frozen_validation(request: AdaptEncoder, tools: Tools, classifier: ImageClassifier) -> torch.Tensor:
    classes = len(request.classes)
    return tools.embedded_split(request.validation, request.encoder, classes, classifier, frozen=True).features


def _target_images(request: AdaptEncoder, tools: Tools) -> TrainingImages | None:
    """Those that the target's own arm would train on at that size and seed. Raises Invalid when there are too few."""
    if request.target_pool is None:
        return None
    image_set = tools.artifacts.result(CURATE_IMAGES, request.target_pool).images
    manifest = tools.artifacts.get_table(image_set.manifest, POOL_COLUMNS)
    pool, asked = kept_pool(manifest), request.recipe.target_images
    if len(pool) < asked:
        detail = f"curation left {len(pool)} images of the target's training split, the recipe asks for {asked}"
        raise Invalid(f"{detail}: ask for fewer, or loosen the curation", code="too_few_target_images")
    rows = manifest.take(pool.rows[draw_training_set(pool, asked, request.subset_seed, request.rules)])
    return load_training_images(tools.artifacts, rows, image_set, tools.decoded)


def _adapted_anew(request: AdaptEncoder, data: Data, tools: Tools, progress: Progress) -> Adapted:
    """From the untouched encoder."""
    subject = Subject(
        classifier=tools.classifier(request.encoder, request.classes, request.templates),
        tower=tools.tower(request.encoder),
        classes=request.classes,
        templates=request.templates,
    )
    return adapt(
        subject,
        data,
        request.recipe,
        Run(request.learning_rate, request.seed, tools.processes, progress, progress.savepoints),
    )


@handlers.serve(EVALUATE_ENCODER)
def evaluate_encoder(request: EvaluateEncoder, tools: Tools, progress: Progress) -> EncoderEvaluated:
    """Tests one run on the test sets, once; which one, only validation decides."""
    request = with_names(request, tools.artifacts)
    candidates = [
        Candidate(adaptation, tools.artifacts.result(ADAPT_ENCODER, adaptation.step))
        for adaptation in request.adaptations
    ]
    exhausted = [candidate.result.available for candidate in candidates if candidate.result.weights is None]
    if exhausted:
        return EncoderEvaluated(available=min(exhausted))
    if not candidates:
        return _untouched(request, tools, progress)
    return _adapted(request, select_run(candidates, request.seed), tools, progress)


@handlers.serve(PROBE_SOURCES)
def probe_sources(request: ProbeSources, tools: Tools, progress: Progress) -> SourcesProbed:
    probe = probe_pools(with_names(request, tools.artifacts), tools)
    log.info("sources.probed", images=probe and probe.images, auc=probe and probe.auc)
    return SourcesProbed(probe=probe)


def _untouched(request: EvaluateEncoder, tools: Tools, progress: Progress) -> EncoderEvaluated:
    classifier = tools.classifier(request.encoder, request.classes, request.templates)
    probes = Probes(request, tools, classifier, progress, frozen=True)
    if request.encoder.kind != "clip":
        # Its head is 0 before any training: there is nothing to validate.
        return _tested(probes)
    validation = probes.embed(request.validation)
    predicted = predict(classifier.head, validation.features)
    return _tested(probes).model_copy(update={"validation_accuracy": accuracy(predicted, validation.class_ids)})


def _adapted(request: EvaluateEncoder, run: Candidate, tools: Tools, progress: Progress) -> EncoderEvaluated:
    classifier = tools.classifier(request.encoder, request.classes, request.templates)
    assert run.result.weights is not None  # exhausted runs were answered before
    frozen = not load_weights(classifier, tools.artifacts.get_blob(run.result.weights))
    return _tested(Probes(request, tools, classifier, progress, frozen=frozen)).model_copy(
        update={
            "learning_rate": run.adaptation.learning_rate,
            "peak_lr_fraction": run.result.peak_lr_fraction,
            "updates": run.result.updates,
            "best_epoch": run.result.best_epoch,
            "validation_accuracy": run.validation_accuracy,
            "training_set": run.result.training_set,
        }
    )


def _tested(probes: Probes) -> EncoderEvaluated:
    """Every metric on every test set, each head fitted once."""
    request, tools = probes.request, probes.tools
    heads = {metric: probes.head(metric) for metric in request.evaluation.metrics}
    tests = {}
    for name, step in request.tests.items():
        test = probes.embed(step)
        tests[name] = _on_test_set(heads, test.features, test.class_ids, tools)
        accuracies = {metric: found.accuracy for metric, found in tests[name].predictions.items()}
        log.info("encoder.evaluated", test_set=name, **accuracies)
    main = tests.pop(MAIN_TEST_SET)
    return EncoderEvaluated(predictions=main.predictions, labels=main.labels, further_tests=tests)


def _on_test_set(heads: Mapping[Metric, Head], features: torch.Tensor, class_ids: np.ndarray, tools: Tools) -> Tested:
    """Predictions in manifest order."""
    return Tested(
        predictions={metric: _predictions(tools, head, features, class_ids) for metric, head in heads.items()},
        labels=tools.artifacts.put_array(class_ids.astype(np.int32)),
    )


def _predictions(tools: Tools, head: Head, features: torch.Tensor, class_ids: np.ndarray) -> Predictions:
    predicted, confidences, in_top5 = summed_up(predict_probabilities(head.layer, features), class_ids)
    return Predictions(
        classes=tools.artifacts.put_array(predicted),
        accuracy=accuracy(predicted, class_ids),
        macro_accuracy=macro_accuracy(predicted, class_ids),
        top5_accuracy=float(in_top5.mean()),
        calibration_error=calibration_error(confidences, predicted == class_ids),
        regularisation=head.regularisation,
    )
