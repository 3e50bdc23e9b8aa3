"""Weights of a classifier as safetensors bytes: tower and head, nothing executable."""

import torch
from safetensors.torch import load, save
from touchstone_contracts.problems import Invalid

from touchstone_trainer.classifier import ImageClassifier

Weights = dict[str, torch.Tensor]


def copy_weights(classifier: ImageClassifier) -> Weights:
    """A snapshot on the CPU that further training does not change."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in classifier.state_dict().items()}


def dump_weights(weights: Weights) -> bytes:
    """The same weights always give the same bytes."""
    return save(weights)


def load_weights(classifier: ImageClassifier, data: bytes) -> None:
    """Raises Invalid when the bytes belong to another encoder or number of classes."""
    try:
        classifier.load_state_dict(load(data))
    except RuntimeError as error:
        raise Invalid(f"weights do not fit the encoder: {error}", code="weights_mismatch") from error
