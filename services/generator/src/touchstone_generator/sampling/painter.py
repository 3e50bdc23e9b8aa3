"""One batch through a diffusers pipeline: what text to image and image to image have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from touchstone_contracts.arms.generation import Sampler

from touchstone_generator.execution import compute_device, is_compiled
from touchstone_generator.sampling.batches import filled
from touchstone_generator.sampling.conditions import accepted, conditions
from touchstone_generator.sampling.pixels import SLICED_DECODING_ABOVE, StepDone, require_size, to_bytes
from touchstone_generator.sampling.randomness import no_shared_randomness
from touchstone_generator.sampling.steps import watched
from touchstone_generator.sampling.text_layers import text_computed_once


class Prompted(Protocol):
    @property
    def prompt(self) -> str: ...


DraftT = TypeVar("DraftT", bound=Prompted)


class Painter(ABC, Generic[DraftT]):
    """A pipeline with a sampler, for square images of one size.

    `pipeline` is used as it is: its scheduler must be the sampler's."""

    def __init__(self, pipeline: Any, sampler: Sampler, image_size: int) -> None:
        """`image_size` in pixels. Raises Invalid when the pipeline cannot make that size."""
        require_size(pipeline, image_size)
        pipeline.vae.use_slicing = image_size > SLICED_DECODING_ABOVE
        self._pipeline, self._sampler = pipeline, sampler
        self._conditions = conditions(pipeline, sampler)

    @abstractmethod
    def _start(self, drafts: Sequence[DraftT]) -> dict[str, Any]:
        """Arguments of the pipeline's call that say where denoising starts."""

    def draw(self, drafts: Sequence[DraftT], slot: int, step_done: StepDone) -> np.ndarray:
        """uint8 images (len(drafts), size, size, 3); the drafts take the slots from `slot` on. Raises NonFinite."""
        slots = filled(drafts, slot, self._sampler.batch_size)
        wanted = slice(slot, slot + len(drafts))
        device = compute_device(self._pipeline)
        with (
            torch.inference_mode(),
            self._text_once(),
            no_shared_randomness(device),
            watched(self._pipeline, wanted, step_done) as callback,
        ):
            images = self._pipeline(
                **self._conditions.of([draft.prompt for draft in slots]),
                **self._start(slots),
                num_inference_steps=self._sampler.steps,
                guidance_scale=self._sampler.guidance_scale,
                output_type="pt",
                **callback,
            ).images
        return to_bytes(images[wanted])

    def _fitting(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Those that the pipeline's call takes."""
        return {name: value for name, value in arguments.items() if name in accepted(self._pipeline)}

    def _text_once(self) -> AbstractContextManager[None]:
        unet = self._pipeline.components.get("unet")
        # What was compiled would be compiled anew.
        return nullcontext() if unet is None or is_compiled(unet) else text_computed_once(unet)
