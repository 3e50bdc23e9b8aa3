"""`python -m touchstone_stack up | down [--wipe] | demo`, and of the conductor's commands `scrub | collect [--delete]
[--weights W] | backup --to FOLDER [--prune] | restore --from FOLDER [--replace] | takedown [--image SHA256] [--key KEY]
[--reason TEXT] [--look]`."""

import argparse
import os
import subprocess
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
from touchstone_stack.processes import Layout, inherited_environment, shared_environment
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
    parser.add_argument("command", choices=tuple(COMMANDS))
    parser.add_argument("--folder", type=Path, default=Path(".touchstone/stack"), help="state, logs and data")
    parser.add_argument("--library", type=Path, default=Path("miniverse"), help="folder of models and data")
    parser.add_argument("--catalogue", type=Path, help="what to register (default: catalogue.yaml of the library)")
    parser.add_argument("--study", type=Path, default=Path("studies/quick-look/study.yaml"), help="what demo runs")
    parser.add_argument("--threads", type=int, default=threads_per_worker(), help="CPU threads of each worker")
    parser.add_argument("--wipe", action="store_true", help="down: also remove all data")
    parser.add_argument("--delete", action="store_true", help="collect: remove what nobody needs")
    parser.add_argument("--grace-hours", type=float, default=24.0, help="collect: what is younger stays")
    parser.add_argument("--weights", help="collect: none, chosen or all of adapted encoders stay")
    parser.add_argument("--to", type=Path, help="backup: the folder to copy everything to")
    parser.add_argument("--prune", action="store_true", help="backup: remove there what is not here any more")
    parser.add_argument("--from", dest="source", type=Path, help="restore: the folder of a backup")
    parser.add_argument("--replace", action="store_true", help="restore: also where that loses experiments")
    parser.add_argument("--image", help="takedown: its sha256")
    parser.add_argument("--key", help="takedown: its key in the source, or its URL")
    parser.add_argument("--reason", help="takedown: who asked for it, and why")
    parser.add_argument("--look", action="store_true", help="takedown: only say what it concerns")
    options = parser.parse_args(arguments)
    for command, option, value in (("backup", "--to", options.to), ("restore", "--from", options.source)):
        if options.command == command and value is None:
            parser.error(f"{command} needs {option} FOLDER")
    return options


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
        COMMANDS[options.command](stack, options, console)
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


def _scrub(stack: Stack, options: argparse.Namespace, console: Console) -> None:
    _maintain(stack, "scrub")


def _collect(stack: Stack, options: argparse.Namespace, console: Console) -> None:
    weights = [f"--weights={options.weights}"] if options.weights else []
    deletes = ["--delete"] if options.delete else []
    _maintain(stack, "collect", f"--grace-hours={options.grace_hours}", *weights, *deletes)


def _backup(stack: Stack, options: argparse.Namespace, console: Console) -> None:
    _maintain(stack, "backup", str(options.to), *(["--prune"] if options.prune else []))


def _restore(stack: Stack, options: argparse.Namespace, console: Console) -> None:
    _maintain(stack, "restore", str(options.source), *(["--replace"] if options.replace else []))


def _takedown(stack: Stack, options: argparse.Namespace, console: Console) -> None:
    given = {"--image": options.image, "--key": options.key, "--reason": options.reason}
    said = [f"{name}={value}" for name, value in given.items() if value]
    _maintain(stack, "takedown", *said, *(["--look"] if options.look else []))


def _maintain(stack: Stack, command: str, *arguments: str) -> None:
    """One of the conductor's commands on what runs here. Raises StackFailed."""
    state = stack.folder.read_state()
    if state is None:
        raise StackFailed("nothing was started here; `make up` starts everything")
    environment = inherited_environment(stack.folder) | shared_environment(stack.layout, state)
    module = f"touchstone_conductor.{command}"
    if subprocess.run((sys.executable, "-m", module, *arguments), env=environment).returncode:
        raise StackFailed(f"{command} did not end well, see above")


def _demo(stack: Stack, options: argparse.Namespace, console: Console) -> None:
    demo = Demo(options.study, stack.folder.path.parent / "demo.json", console)
    if os.environ.get("KEEP") == "1":
        demo.run(stack.up())
        console.print("The stack keeps running; `make down` stops it.")
        return
    with stack.running() as state:
        demo.run(state)
    console.print("The stack was stopped, its data stay: `make up` brings the dashboard back.")


COMMANDS = {
    "up": _up,
    "down": _down,
    "demo": _demo,
    "scrub": _scrub,
    "collect": _collect,
    "backup": _backup,
    "restore": _restore,
    "takedown": _takedown,
}


if __name__ == "__main__":
    sys.exit(main())
