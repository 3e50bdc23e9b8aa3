"""Following a pipeline's denoising steps, whether or not its call takes a callback."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from touchstone_generator.sampling.conditions import accepted
from touchstone_generator.sampling.pixels import StepDone, require_finite


@contextmanager
def watched(pipeline: Any, wanted: slice, step_done: StepDone) -> Iterator[dict[str, Any]]:
    """Arguments of the pipeline's call. Tells of its steps and looks at the `wanted` latents after the last."""
    if "callback_on_step_end" in accepted(pipeline):
        yield {"callback_on_step_end": _callback(wanted, step_done)}
        return
    scheduler = pipeline.scheduler
    scheduler.step = _told(scheduler, step_done)
    try:
        yield {}
    finally:
        del scheduler.step


def _callback(wanted: slice, step_done: StepDone) -> Callable[..., dict[str, Any]]:
    def on_step_end(pipeline: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        # Looked at before decoding: a codec that squashes its input would turn infinity into a picture.
        if step + 1 == pipeline.num_timesteps:
            require_finite(tensors["latents"][wanted])
        step_done(step + 1, pipeline.num_timesteps)
        return {}

    return on_step_end


def _told(scheduler: Any, step_done: StepDone) -> Callable[..., Any]:
    """The scheduler's step; what slots are padded with is finite where the others are."""
    original, done = scheduler.step, 0

    @wraps(original)
    def step(*arguments: Any, **named: Any) -> Any:
        nonlocal done
        answer = original(*arguments, **named)
        done += 1
        if done == len(scheduler.timesteps):
            require_finite(answer[0])
        step_done(done, len(scheduler.timesteps))
        return answer

    return step
