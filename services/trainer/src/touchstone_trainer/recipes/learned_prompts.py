"""Context vectors before every class name, learned through the frozen text tower: CoOp, arXiv 2109.01134.

They start as the words of a template (CoOp's CTX_INIT), so that no update leaves its zero-shot head as it is, or at
random. Works on any text tower that embeds tokens first: what the token embedding says about those words, or about
fillers that move the class name right, is replaced by the vectors."""

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import nn
from torch.nn import functional
from touchstone_contracts.catalogue import filled
from touchstone_contracts.identity import derive_seed
from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes.learned_prompts import context_template
from touchstone_encoders.loading import LoadedEncoder, token_embedding

from touchstone_trainer.checkpoints import Weights
from touchstone_trainer.recipes.learner import Learner
from touchstone_trainer.recipes.subject import Subject

INITIAL_STD = 0.02
"""CoOp's; also the scale of freshly made token embeddings."""


class PromptLearner(Learner):
    tokens: torch.Tensor

    def __init__(self, subject: Subject, vectors: int | None, seed: int) -> None:
        """`vectors` None: those of the words before the name in a template. Raises Invalid where none has any."""
        super().__init__(subject.classifier.requires_grad_(False))
        encoder = subject.encoder
        self.model = copy.deepcopy(encoder.model).requires_grad_(False)
        self.model.visual = self.classifier.tower
        names = [label.display_name for label in subject.classes]
        embedding = token_embedding(self.model)
        if vectors is None:
            tokens, words = tokens_with_words(encoder, names, subject.templates)
            self.start, context = words.start, embedding.weight.detach()[tokens[0, words]]
        else:
            tokens, self.start = tokens_with_room(encoder, names, vectors)
            context = _random_context(vectors, embedding.embedding_dim, seed)
        self.register_buffer("tokens", tokens.to(encoder.device), persistent=False)
        self.context = nn.Parameter(context.to(encoder.device))
        embedding.register_forward_hook(self._put_in)

    def outputs(self, pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes)."""
        with torch.no_grad():
            features = self.classifier.features(pixels)
        return features @ self.head_weight().T

    def head_weight(self) -> torch.Tensor:
        """(classes, dimension), as of a zero-shot head."""
        vectors = functional.normalize(self.model.encode_text(self.tokens), dim=-1)
        return vectors * self.model.logit_scale.exp()

    def weights(self) -> Weights:
        with torch.no_grad():
            weight = self.head_weight().cpu().contiguous()
        return {"head.weight": weight, "head.bias": torch.zeros(len(weight))}

    def train(self, mode: bool = True) -> Self:
        """Both towers are frozen: no drop-out either."""
        return super().train(False)

    def _put_in(self, embedding: nn.Module, tokens: object, embedded: torch.Tensor) -> torch.Tensor:
        """Forward hook: (classes, length, width) with words or fillers replaced."""
        context = self.context.to(embedded.dtype).expand(len(embedded), -1, -1)
        after = self.start + context.shape[1]
        return torch.cat([embedded[:, : self.start], context, embedded[:, after:]], dim=1)


def _random_context(vectors: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(derive_seed(seed, "context vectors"))
    return INITIAL_STD * torch.randn(vectors, width, generator=generator)


def tokens_with_words(encoder: LoadedEncoder, names: list[str], templates: Sequence[str]) -> tuple[torch.Tensor, slice]:
    """Tokens (names, length) of the first template with words before the name, and where in all of them those stand.

    Raises Invalid when no template has any."""
    template = context_template(templates)
    if template is None:
        raise Invalid(
            f"none of the templates {list(templates)} has words before the class name to start from: "
            "give context_vectors",
            code="no_context_words",
        )
    tokens = encoder.tokenize([filled(template, name) for name in names])
    nothing, words = encoder.tokenize(["", template.partition("{name}")[0]])
    # Up to where any text differs from the words alone; a tokenizer may join the last of them with the name.
    return tokens, slice(_first(tokens != nothing), _first(tokens != words))


def _first(differing: torch.Tensor) -> int:
    """The first position (texts, length) at which any text differs."""
    return int(differing.any(dim=0).int().argmax())


def tokens_with_room(encoder: LoadedEncoder, names: list[str], vectors: int) -> tuple[torch.Tensor, int]:
    """Tokens (names, length) with `vectors` fillers before each name, and the position of the first filler.

    Raises Invalid when a name no longer fits."""
    nothing, tokens = encoder.tokenize([""])[0], encoder.tokenize(names)
    # What the tokenizer puts before any text (a start token or nothing) is what an empty text begins with, too.
    start = _first(tokens != nothing)
    # One piece of padding must be left: where the end token is the padding, it is what ends the name.
    if (tokens[:, -vectors - 1 :] != nothing[-1]).any() or vectors + start >= tokens.shape[1]:
        raise Invalid(
            f"{vectors} context vectors leave no room for every class name in {tokens.shape[1]} tokens",
            code="context_too_long",
        )
    # A filler is the name's own first token: ordinary, so neither an end nor padding to any text tower.
    fillers = tokens[:, start : start + 1].expand(-1, vectors)
    return torch.cat([tokens[:, :start], fillers, tokens[:, start:-vectors]], dim=1), start
