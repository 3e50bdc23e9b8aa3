"""Settings of the trainer."""

from pydantic import Field
from touchstone_runtime.settings import WorkerSettings


class TrainerSettings(WorkerSettings):
    decoded_megabytes: int = Field(default=2048, ge=1)
    """Memory for decoded training images; a training set that does not fit is decoded anew in every epoch."""
    evaluation_megabytes: int = Field(default=2048, ge=1)
    """Memory for decoded and resized validation, test and train splits."""
    loader_threads: int = Field(default=1, ge=1, le=256)
    """Threads that decode and crop the next batches while the current one trains. Does not change results."""
