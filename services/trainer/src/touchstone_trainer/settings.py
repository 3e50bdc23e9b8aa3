"""Settings of the trainer."""

from pydantic import Field
from touchstone_runtime.settings import WorkerSettings


class TrainerSettings(WorkerSettings):
    decoded_megabytes: int = Field(default=2048, ge=1)
    """Memory for decoded training images; a training set that does not fit lies encoded on disk (TMPDIR) and is decoded
    anew in every epoch."""
    evaluation_megabytes: int = Field(default=2048, ge=1)
    """Memory for decoded and resized validation, test and train splits; one that does not fit lies on disk likewise."""
    features_megabytes: int = Field(default=256, ge=1)
    """Memory for features of splits by untouched encoders; they are in the object store as well."""
    loader_threads: int = Field(default=1, ge=1, le=256)
    """Threads that decode and crop the next batches while the current one is worked on. Does not change results."""
    loader_processes: int = Field(default=0, ge=0, le=256)
    """Processes that do so instead of the threads. Worth it beside a GPU with cores to spare: on two cores each takes
    from training what it saves it."""
