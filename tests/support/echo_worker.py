"""A worker without science: serves the generator's queue from the runtime alone. `python -m support.echo_worker`.

What a step does is told by its first template: `wait {name}` reports progress until it is cancelled, `linger {name}`
does so at its first attempt alone, `nap {name}` takes three seconds, `stall {name}` tells of nothing again, `break
{name}` is a bug, `retry {name}` a passing failure; anything else writes its own text as prompts.

`ECHO_VERSIONS=7,2` makes it a worker of another release: one that serves these versions of write_prompts."""

import os
import threading
from dataclasses import replace
from typing import Any, NoReturn

from touchstone_contracts.problems import Transient
from touchstone_contracts.steps import CATALOGUE, EARLIER, WRITE_PROMPTS, PromptsWritten, WritePrompts
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.bootstrap import run_worker
from touchstone_runtime.logs import configure_logs
from touchstone_runtime.objects import connect_objects
from touchstone_runtime.serving import Handlers, Progress
from touchstone_runtime.settings import WorkerSettings

NAP_SECONDS = 3
handlers = Handlers[Artifacts]("generator")


def become_another_release(versions: list[int]) -> None:
    """What a release serves is what its catalogue says; the other kinds stay as they are."""
    newest, *earlier = (replace(WRITE_PROMPTS, version=version, names_facts=version > 1) for version in versions)
    CATALOGUE[WRITE_PROMPTS.name] = newest
    EARLIER.pop(f"{WRITE_PROMPTS.name}.1")
    EARLIER.update({contract.channel: contract for contract in earlier})


if "ECHO_VERSIONS" in os.environ:
    become_another_release([int(version) for version in os.environ["ECHO_VERSIONS"].split(",")])


@handlers.serve(WRITE_PROMPTS)
def write_prompts(request: WritePrompts, artifacts: Artifacts, progress: Progress) -> PromptsWritten:
    wish = request.templates[0].split()[0]
    if wish == "wait" or (wish == "linger" and progress.message.attempt == 1):
        paced = threading.Event()
        while not paced.wait(0.05):
            progress(1, 2)
    if wish == "nap":
        threading.Event().wait(NAP_SECONDS)
    if wish == "stall":
        threading.Event().wait()
    if wish == "break":
        raise ZeroDivisionError("a bug on purpose")
    if wish == "retry":
        raise Transient("a passing failure on purpose", code="on_purpose")
    return PromptsWritten(prompts=artifacts.put_blob(request.templates[0].encode()), count=request.images_per_class)


def refuse(request: Any, artifacts: Artifacts, progress: Progress) -> NoReturn:
    raise Transient("this worker draws nothing")


for contract in CATALOGUE.values():
    if contract.queue == handlers.queue and contract.name != WRITE_PROMPTS.name:
        handlers.serve(contract)(refuse)


def main() -> None:
    settings = WorkerSettings()
    configure_logs(settings.log_level, settings.log_format)
    artifacts = Artifacts(connect_objects(settings))
    run_worker(handlers, artifacts, artifacts, settings, device="cpu")


if __name__ == "__main__":
    main()
