"""Fine-tuning with the loss of pretraining on (image, prompt of its class): FLYP, arXiv 2212.00638.

As in FLYP, images of one class in a batch are not told apart from others: each image's own prompt is its only positive,
its classmates' prompts count among the negatives. github.com/locuslab/FLYP at 61275a4: src/models/flyp_loss.py and
flyp_loss_few_shot.py (where every batch holds each class k times) call ClipLoss without class labels, and clip/loss.py
then takes the diagonal as the truth; its branches that spare or share classmates are not reached. Classmates with equal
prompts get equal logits, so they raise the least loss that can be reached and pull no class from another."""

import copy
from dataclasses import replace

import numpy as np
import torch
from open_clip.loss import ClipLoss, SigLipLoss
from torch.nn import functional
from touchstone_encoders.embedding import class_texts, class_vectors

from touchstone_trainer.checkpoints import Weights, copy_weights
from touchstone_trainer.classifier import text_head
from touchstone_trainer.recipes.learner import Learner
from touchstone_trainer.recipes.subject import Subject


class ContrastiveLearner(Learner):
    """Both towers and the logit scale are trained; the head is read off the text tower whenever it is needed."""

    tokens: torch.Tensor

    def __init__(self, subject: Subject) -> None:
        super().__init__(copy.deepcopy(subject.classifier))
        self.subject = subject
        self.model = copy.deepcopy(subject.encoder.model).requires_grad_(True)
        self.model.visual = self.classifier.tower.requires_grad_(True)
        self.classifier.head.requires_grad_(False)
        texts = class_texts(subject.classes, subject.templates)
        self.register_buffer("tokens", subject.encoder.tokenize(texts).to(subject.encoder.device), persistent=False)

    def targets(self, class_ids: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Rows of `tokens`: a template drawn for each image."""
        templates = len(self.subject.templates)
        return class_ids * templates + torch.from_numpy(rng.integers(0, templates, size=len(class_ids)))

    def outputs(self, pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """L2-normalised image and text features, (batch, 2, dimension); every prompt is embedded once."""
        prompts, prompt_of = targets.unique(return_inverse=True)
        texts = functional.normalize(self.model.encode_text(self.tokens[prompts]), dim=-1)[prompt_of]
        return torch.stack([self.classifier.features(pixels), texts], dim=1)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Softmax over the batch both ways, or pairwise sigmoid for encoders that were trained so (SigLIP)."""
        images, texts = outputs.unbind(dim=1)
        scale, bias = self.model.logit_scale.exp(), self.model.logit_bias
        loss: torch.Tensor
        loss = ClipLoss()(images, texts, scale) if bias is None else SigLipLoss()(images, texts, scale, bias)
        return loss

    def weights(self) -> Weights:
        self.eval()
        tuned = replace(self.subject.encoder, model=self.model)
        vectors = class_vectors(tuned, self.subject.classes, self.subject.templates, normalize_each=True)
        self.classifier.head.load_state_dict(text_head(tuned, vectors).state_dict())
        return copy_weights(self.classifier)
