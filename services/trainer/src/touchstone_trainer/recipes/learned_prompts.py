"""Context vectors before every class name, learned through the frozen text tower: CoOp, arXiv 2109.01134.

Works on any text tower that embeds tokens first: the class name moves right, fillers take its place, and what the token
embedding says about the fillers is replaced by the vectors."""

import copy
from typing import Self

import torch
from torch import nn
from torch.nn import functional
from touchstone_contracts.identity import derive_seed
from touchstone_contracts.problems import Invalid
from touchstone_encoders.loading import LoadedEncoder, token_embedding

from touchstone_trainer.checkpoints import Weights
from touchstone_trainer.recipes.learner import Learner
from touchstone_trainer.recipes.subject import Subject

INITIAL_STD = 0.02
"""CoOp's; also the scale of freshly made token embeddings."""


class PromptLearner(Learner):
    tokens: torch.Tensor

    def __init__(self, subject: Subject, vectors: int, seed: int) -> None:
        super().__init__(subject.classifier.requires_grad_(False))
        encoder = subject.encoder
        self.model = copy.deepcopy(encoder.model).requires_grad_(False)
        self.model.visual = self.classifier.tower
        names = [label.display_name for label in subject.classes]
        tokens, self.start = tokens_with_room(encoder, names, vectors)
        self.register_buffer("tokens", tokens.to(encoder.device), persistent=False)
        embedding = token_embedding(self.model)
        generator = torch.Generator().manual_seed(derive_seed(seed, "context vectors"))
        context = INITIAL_STD * torch.randn(vectors, embedding.embedding_dim, generator=generator)
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
        """Forward hook: (classes, length, width) with the fillers replaced."""
        context = self.context.to(embedded.dtype).expand(len(embedded), -1, -1)
        after = self.start + context.shape[1]
        return torch.cat([embedded[:, : self.start], context, embedded[:, after:]], dim=1)


def tokens_with_room(encoder: LoadedEncoder, names: list[str], vectors: int) -> tuple[torch.Tensor, int]:
    """Tokens (names, length) with `vectors` fillers before each name, and the position of the first filler.

    Raises Invalid when a name no longer fits."""
    nothing, tokens = encoder.tokenize([""])[0], encoder.tokenize(names)
    # What the tokenizer puts before any text (a start token or nothing) is what an empty text begins with, too.
    start = int((tokens != nothing).any(dim=0).int().argmax())
    # One piece of padding must be left: where the end token is the padding, it is what ends the name.
    if (tokens[:, -vectors - 1 :] != nothing[-1]).any() or vectors + start >= tokens.shape[1]:
        raise Invalid(
            f"{vectors} context vectors leave no room for every class name in {tokens.shape[1]} tokens",
            code="context_too_long",
        )
    # A filler is the name's own first token: ordinary, so neither an end nor padding to any text tower.
    fillers = tokens[:, start : start + 1].expand(-1, vectors)
    return torch.cat([tokens[:, :start], fillers, tokens[:, start:-vectors]], dim=1), start
