"""Which code writes captions for which kind of writer."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from touchstone_contracts.arms import prompts
from touchstone_contracts.registry import Implementations
from touchstone_runtime.library import Library
from touchstone_runtime.phases import phase
from touchstone_runtime.serving import Progress

from touchstone_generator.prompts.captions import CaptionWriter
from touchstone_generator.prompts.grammar import GrammarWriter
from touchstone_generator.prompts.language_model import CausalWriter, load_causal_model

MakeWriter = Callable[[Any, Sequence[str], Library, torch.device, Progress], CaptionWriter]
"""(settings, templates, library, device, progress)"""


def _grammar_writer(
    settings: prompts.GrammarWriter,
    templates: Sequence[str],
    library: Library,
    device: torch.device,
    progress: Progress,
) -> CaptionWriter:
    return GrammarWriter(templates)


def _causal_writer(
    settings: prompts.TransformersWriter,
    templates: Sequence[str],
    library: Library,
    device: torch.device,
    progress: Progress,
) -> CaptionWriter:
    with phase("load"):
        model, tokenizer = load_causal_model(settings, library, device)
    return CausalWriter(model, tokenizer, settings, progress, progress.savepoints)


WRITER_FUNCTIONS = Implementations[MakeWriter]("caption writer")
WRITER_FUNCTIONS.register(prompts.GrammarWriter, _grammar_writer)
WRITER_FUNCTIONS.register(prompts.TransformersWriter, _causal_writer)
