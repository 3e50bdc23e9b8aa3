"""Touchstone from Python: describe an experiment, run it on a server, read its results and verdict."""

from touchstone.client import Client
from touchstone.problems import ExperimentFailed, ProblemError

__all__ = ["Client", "ExperimentFailed", "ProblemError"]
