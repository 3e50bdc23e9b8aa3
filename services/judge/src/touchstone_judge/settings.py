"""The judge's settings; the environment is read once, by worker.py."""

from touchstone_runtime.settings import WorkerSettings


class JudgeSettings(WorkerSettings):
    """Nothing of its own: what decides a verdict stands in the request, never in the environment."""
