"""`python -m touchstone_stack up | down [--wipe] | demo`."""

import argparse
import os
import sys
from pathlib import Path

import httpx
from pydantic import ValidationError
from rich.console import Console
from touchstone import ExperimentFailed, ProblemError
from touchstone.documents import UnreadableDocument
from touchstone.tables import console_for_output

from touchstone_stack.demo import Demo
from touchstone_stack.lifecycle import Stack, threads_per_worker
from touchstone_stack.processes import Layout
from touchstone_stack.servers import ServerMissing
from touchstone_stack.state import Folder, PortTaken
from touchstone_stack.supervision import StackFailed

DEFAULT_PORT = 8000

EXPECTED = (
    ExperimentFailed, PortTaken, ProblemError, ServerMissing, StackFailed, UnreadableDocument, ValidationError,
    httpx.TransportError,
)  # fmt: skip
"""What a person at the terminal can act on; anything else is a bug and shows its traceback."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="touchstone_stack", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "demo"))
    parser.add_argument("--folder", type=Path, default=Path(".touchstone/stack"), help="state, logs and data")
    parser.add_argument("--library", type=Path, default=Path("miniverse"), help="folder of models and data")
    parser.add_argument("--catalogue", type=Path, help="what to register (default: catalogue.yaml of the library)")
    parser.add_argument("--study", type=Path, default=Path("studies/quick-look/study.yaml"), help="what demo runs")
    parser.add_argument("--threads", type=int, default=threads_per_worker(), help="CPU threads of each worker")
    parser.add_argument("--wipe", action="store_true", help="down: also remove all data")
    return parser.parse_args(arguments)


def build_stack(options: argparse.Namespace, console: Console) -> Stack:
    return Stack(
        layout=Layout(Folder(options.folder.resolve()), options.library.resolve(), options.threads),
        catalogue=options.catalogue or options.library / "catalogue.yaml",
        api_port=int(os.environ.get("TOUCHSTONE_PORT", DEFAULT_PORT)),
        say=lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True),
    )


def main() -> int:
    options, console = parse_arguments(), console_for_output()
    stack = build_stack(options, console)
    try:
        {"up": _up, "down": _down, "demo": _demo}[options.command](stack, options, console)
    except EXPECTED as error:
        Console(stderr=True, soft_wrap=True).print(str(error), style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; `make down` stops what still runs")
        return 130
    return 0


def _up(stack: Stack, options: argparse.Namespace, console: Console) -> None:
    state = stack.up()
    console.print(f"Dashboard {state.api_url}  API {state.api_url}/docs  logs {stack.folder.logs}", soft_wrap=True)


def _down(stack: Stack, options: argparse.Namespace, console: Console) -> None:
    stopped = stack.down(wipe=options.wipe)
    console.print("stopped" if stopped else "nothing was running")


def _demo(stack: Stack, options: argparse.Namespace, console: Console) -> None:
    demo = Demo(options.study, stack.folder.path.parent / "demo.json", console)
    if os.environ.get("KEEP") == "1":
        demo.run(stack.up())
        console.print("The stack keeps running; `make down` stops it.")
        return
    with stack.running() as state:
        demo.run(state)
    console.print("The stack was stopped, its data stay: `make up` brings the dashboard back.")


if __name__ == "__main__":
    sys.exit(main())
