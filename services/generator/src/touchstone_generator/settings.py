"""The generator worker's settings; the environment is read once, by worker.py."""

from touchstone_runtime.settings import WorkerSettings


class GeneratorSettings(WorkerSettings):
    """Nothing of its own yet: what decides an image stands in the request, never in the environment."""
