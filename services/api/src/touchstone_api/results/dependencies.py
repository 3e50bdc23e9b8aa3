"""What routes that show results ask for."""

from typing import Annotated

from fastapi import Depends, Request

from touchstone_api.dependencies import ServicesHere
from touchstone_api.results.reader import ResultsReader


def results_reader(request: Request, services: ServicesHere) -> ResultsReader:
    """The process's only reader, so that what it remembers serves every request."""
    state = request.app.state
    if not hasattr(state, "results_reader"):
        state.results_reader = ResultsReader(services.store, services.artifacts)
    reader: ResultsReader = state.results_reader
    return reader


ResultsHere = Annotated[ResultsReader, Depends(results_reader)]
