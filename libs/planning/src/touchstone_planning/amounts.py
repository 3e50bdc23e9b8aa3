"""How much work one step is, from its stored request: what its duration grows with. Pure.

Requests are read as plain data, so that steps of earlier contract versions count too. A kind without an entry, and a
request that does not say, have no amount: their durations are compared step by step."""

from collections.abc import Callable, Mapping
from typing import Any

from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    EMBED_IMAGES,
    EVALUATE_ENCODER,
    GENERATE_IMAGES,
    INGEST_IMAGES,
    PERTURB_IMAGES,
    TUNE_GENERATOR,
)
from touchstone_contracts.values import StepId

Request = Mapping[str, Any]
ImagesOf = Mapping[StepId, int]
"""How many images a step yields, where that is known."""


def images_of(kind: str, request: Request) -> int | None:
    """How many images the step yields, where its request says so."""
    if kind == INGEST_IMAGES.name:
        return int(request["source"]["images"])
    if kind == GENERATE_IMAGES.name:
        return int(request["last"]) - int(request["first"])
    return None


def image_sets_of(kind: str, request: Request) -> tuple[StepId, ...]:
    """The steps whose images the step goes through."""
    if kind == EMBED_IMAGES.name:
        return (request["images"],)
    if kind == EVALUATE_ENCODER.name:
        return (request["test"], *request.get("further_tests", {}).values())
    return ()


def amount_of(kind: str, request: Request, images: ImagesOf, perturbed: int | None = None) -> float | None:
    """In the unit of its kind: images, or images x sampling steps x pixels, or images x epochs.

    `perturbed`: images that a perturbation yields, which its request does not say."""
    count = _COUNTED.get(kind)
    if count is not None:
        return count(request)
    if kind == PERTURB_IMAGES.name:
        return None if perturbed is None else float(perturbed * request["gamma"]) * _sampled(request)
    sets = image_sets_of(kind, request)
    return sum(images[each] for each in sets) if sets and all(each in images for each in sets) else None


def _sampled(request: Request) -> float:
    """Sampling steps x pixels of one image."""
    return float(request["sampler"]["steps"] * request["image_size"] ** 2)


def _generated(request: Request) -> float:
    return _sampled(request) * float(request["last"] - request["first"])


def _tuned(request: Request) -> float:
    return float(request["lora"]["steps"] * request["lora"]["batch_size"] * request["image_size"] ** 2)


def _adapted(request: Request) -> float:
    return float(request["size"] * request["recipe"].get("epochs", 1))


_COUNTED: Mapping[str, Callable[[Request], float]] = {
    INGEST_IMAGES.name: lambda request: request["source"]["images"],
    GENERATE_IMAGES.name: _generated,
    TUNE_GENERATOR.name: _tuned,
    ADAPT_ENCODER.name: _adapted,
}

SIZED_KINDS = (*_COUNTED, EMBED_IMAGES.name, EVALUATE_ENCODER.name)
"""Kinds of which some steps have an amount."""
