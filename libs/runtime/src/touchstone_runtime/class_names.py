"""Classes under the names that an earlier step chose."""

from typing import TypeVar

from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.steps import (
    NAME_CLASSES,
    AdaptEncoder,
    CollectCaptions,
    EvaluateEncoder,
    ProbeSources,
    RetrieveImages,
    TuneGenerator,
    WriteCaptions,
    WritePrompts,
)

from touchstone_runtime.artifacts import Artifacts

NamingT = TypeVar(
    "NamingT",
    RetrieveImages,
    WritePrompts,
    WriteCaptions,
    CollectCaptions,
    TuneGenerator,
    AdaptEncoder,
    EvaluateEncoder,
    ProbeSources,
)
"""Requests that say what their classes are called."""


def with_names(request: NamingT, artifacts: Artifacts) -> NamingT:
    """The request with its classes called as it asks. Raises MissingObject."""
    if request.names is None:
        return request
    names = artifacts.result(NAME_CLASSES, request.names).names
    rename = (
        ClassLabel.called
        if isinstance(request, AdaptEncoder | EvaluateEncoder | ProbeSources)
        else ClassLabel.asked_for_as
    )
    classes = tuple(rename(label, name) for label, name in zip(request.classes, names, strict=True))
    return request.model_copy(update={"classes": classes})
