"""Weights of a classifier as safetensors bytes, nothing executable: tower and head, or the head of a frozen tower."""

from collections.abc import Mapping

import torch
from safetensors.torch import load, save
from touchstone_contracts.problems import Invalid

from touchstone_trainer.classifier import ImageClassifier

Weights = dict[str, torch.Tensor]


def copy_weights(classifier: ImageClassifier) -> Weights:
    return snapshot(classifier.state_dict())


def snapshot(values: Mapping[str, torch.Tensor]) -> Weights:
    """A copy on the CPU that further training does not change."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in values.items()}


def interpolated(untouched: Weights, tuned: Weights, alpha: float) -> Weights:
    """(1 - alpha) x untouched + alpha x tuned: WiSE-FT, arXiv 2109.01903. Counters stay the tuned ones."""
    return {
        name: torch.lerp(untouched[name], value, alpha) if value.is_floating_point() else value
        for name, value in tuned.items()
    }


def dump_weights(weights: Weights) -> bytes:
    """The same weights always give the same bytes."""
    return save(weights)


def load_weights(classifier: ImageClassifier, data: bytes) -> bool:
    """As `set_weights`. Raises Invalid when the bytes belong to another encoder or number of classes."""
    return set_weights(classifier, load(data))


def set_weights(classifier: ImageClassifier, weights: Weights) -> bool:
    """Whether the tower is among them: weights of the head alone leave it as it is. Raises Invalid where they do not
    fit."""
    whole = any(not name.startswith("head.") for name in weights)
    part = classifier if whole else classifier.head
    try:
        part.load_state_dict({name if whole else name.removeprefix("head."): weights[name] for name in weights})
    except RuntimeError as error:
        raise Invalid(f"weights do not fit the encoder: {error}", code="weights_mismatch") from error
    return whole
