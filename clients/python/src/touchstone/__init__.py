"""Touchstone from Python: describe an experiment, run it on a server, read its results and verdict.

>>> import touchstone
>>> with touchstone.Client("http://127.0.0.1:8000") as client:
...     experiment = client.run("studies/quick-look").wait()
...     print(experiment.verdict)
...     experiment.results.to_pandas(summary=True)
"""

from touchstone.answers import Results, Verdict
from touchstone.async_client import AsyncClient
from touchstone.client import Client
from touchstone.documents import UnreadableDocument
from touchstone.errors import NotExported, UnreadableImage
from touchstone.experiments import AsyncExperiment, Experiment
from touchstone.exports.training_set import Exported, export_training_set
from touchstone.extras import MissingExtra
from touchstone.problems import (
    Conflict,
    ExperimentFailed,
    Forbidden,
    InvalidRequest,
    NotFound,
    ProblemError,
    ServerFailed,
    StillRunning,
    TooManyRequests,
    TouchstoneError,
    Unauthorized,
    UnknownName,
    Unreachable,
)
from touchstone.searches import SearchResults

__all__ = [
    "AsyncClient",
    "AsyncExperiment",
    "Client",
    "Conflict",
    "Experiment",
    "ExperimentFailed",
    "Exported",
    "Forbidden",
    "InvalidRequest",
    "MissingExtra",
    "NotExported",
    "NotFound",
    "ProblemError",
    "Results",
    "SearchResults",
    "ServerFailed",
    "StillRunning",
    "TooManyRequests",
    "TouchstoneError",
    "Unauthorized",
    "UnknownName",
    "Unreachable",
    "UnreadableDocument",
    "UnreadableImage",
    "Verdict",
    "export_training_set",
]
