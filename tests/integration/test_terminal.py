"""The `touchstone` command against an api on a socket that has one finished experiment."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import touchstone.terminal
import typer
import yaml
from support.finished_experiments import finished_on_memory
from support.memory_services import OPERATOR_KEY
from support.served_api import serving_api
from touchstone import Client
from touchstone.cli import app
from touchstone.credentials import KEY_VARIABLE
from touchstone.version import VERSION
from typer.testing import CliRunner, Result

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
RAW_PYDANTIC = re.compile(r"Input should|Extra inputs|Field required|validation error|errors\.pydantic|type=\w+_")
ENTRIES = {
    "upstreams": ("upstream", "world"),
    "targets": ("target", "fine"),
    "datasets": ("dataset", "fine-by-hand"),
    "encoders": ("encoder", "clip"),
    "generators": ("generator", "diffusion"),
}


@dataclass(frozen=True)
class Terminal:
    """Somebody who types commands, and a finished experiment named `quick` to type about."""

    server: str
    experiment: str

    def types(self, *words: str, **variables: str) -> Result:
        environment = {KEY_VARIABLE: OPERATOR_KEY, "TOUCHSTONE_SERVER": self.server, **variables}
        return CliRunner().invoke(app, list(words), env=environment)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    services, _, told = finished_on_memory(tmp_path_factory.mktemp("finished"))
    with serving_api(services) as server:
        yield Terminal(server, told.id)


def commands() -> dict[str, Any]:
    """Every sub-command by what is typed."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_group(app).commands.items():
        inner = getattr(command, "commands", None)
        found |= {name: command} if inner is None else {f"{name} {each}": inner[each] for each in inner}
    return found


def test_every_command_answers_in_json_too_and_says_what_it_does() -> None:
    found = commands()
    assert len(found) >= 30
    without = [name for name, each in found.items() if "--json" not in {o for p in each.params for o in p.opts}]
    assert without == []
    assert [name for name, each in found.items() if not each.help] == []


READING = (
    ("list",), ("list", "targets"), ("show", "{id}"), ("show", "upstream/world"), ("steps", "{id}"), ("log", "{id}"),
    ("account", "{id}"), ("account", "target/fine"), ("results", "{id}"), ("verdict", "{id}"),
    ("classes", "{id}", "retrieved"), ("classes", "{id}", "retrieved", "--target", "fine"),
    ("curation", "{id}", "retrieved", "--target", "fine"), ("labels", "{id}"), ("report", "{id}"), ("manifest", "{id}"),
    ("registration", "{id}"), ("storage",), ("takedowns",), ("project",), ("audit",), ("keys", "list"),
    ("open", "{id}"), ("show", "{id}", "--watch"), ("cancel", "{id}"),
)  # fmt: skip


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_json_is_all_that_is_printed(terminal: Terminal, words: tuple[str, ...]) -> None:
    answer = terminal.types(*(word.format(id=terminal.experiment) for word in words), "--json")
    if answer.exit_code:  # the target has to be named: in JSON or not, on standard error and in words
        assert (answer.exit_code, answer.stdout, "name a target" in answer.stderr) == (2, "", True), answer.output
        return
    assert isinstance(json.loads(answer.stdout), dict | list)
    assert answer.stderr == ""


def test_json_holds_what_the_api_answers(terminal: Terminal) -> None:
    answered = json.loads(terminal.types("results", terminal.experiment, "--json").stdout)
    with Client(terminal.server, key=OPERATOR_KEY) as client:
        assert answered == client.results(terminal.experiment).model_dump(mode="json")
    assert len(answered["rows"]) == 60


def test_the_version_is_printed() -> None:
    answer = CliRunner().invoke(app, ["--version"])
    assert (answer.exit_code, answer.output) == (0, f"touchstone-lab {VERSION}\n")


@pytest.mark.parametrize("kind", ENTRIES)
def test_whatever_is_registered_is_listed_and_shown(terminal: Terminal, kind: str) -> None:
    singular, name = ENTRIES[kind]
    assert name in terminal.types("list", kind).output
    for path in (f"{singular}/{name}", f"{kind}/{name}"):
        shown = terminal.types("show", path)
        assert (shown.exit_code, f"name: {name}" in shown.output) == (0, True), shown.output
    assert json.loads(terminal.types("show", f"{singular}/{name}", "--json").output)["name"] == name


@pytest.mark.parametrize("typed", ["{id}", "{beginning}", "quick"])
def test_an_experiment_is_named_by_its_id_how_that_begins_or_its_name(terminal: Terminal, typed: str) -> None:
    text = typed.format(id=terminal.experiment, beginning=terminal.experiment[:12])
    shown = terminal.types("show", text, "--json")
    assert (shown.exit_code, json.loads(shown.output)["id"]) == (0, terminal.experiment)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "quik"), "there is no experiment 'quik'; did you mean 'quick'?"),
        (("verdict", "nonsense"), "there is no experiment 'nonsense'; there are 'quick'"),
        (("show", "target/fyne"), "there is no target 'fyne'; did you mean 'fine'?"),
        (("show", "upstreams/wrld"), "there is no upstream 'wrld'; did you mean 'world'?"),
        (("classes", "quick", "retreived"), "there is no arm 'retreived'; did you mean 'retrieved'?"),
        (
            ("classes", "quick", "retrieved", "--target", "dogs"),
            "there is no target 'dogs'; there are 'fine' and 'broad'",
        ),
        (("classes", "quick", "retrieved", "--target", "fine", "--class", "thing1"), "did you mean 'thing 1'"),
        (("grid", "quick", "{folder}/grid.png", "--target", "brod"), "did you mean 'broad'?"),
        (("grid", "quick", "{folder}/grid.png", "--class", "thing 9"), "there is no class 'thing 9'"),
        (("curation", "quick", "mixed"), "there is no arm 'mixed'"),
        (("show", "target/"), "'target/' names no target; write target/NAME"),
        (("clone", "quick", "--set", "sizess=[6]"), "/sizess: there is no such field; did you mean 'sizes'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_unknown_name_is_told_with_the_nearest(
    terminal: Terminal, words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    answer = terminal.types(*(word.format(folder=tmp_path) for word in words))
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert said in answer.stderr
    assert list(tmp_path.iterdir()) == []


BAD_FILES = {
    "missing": (None, "cannot be read: No such file or directory"),
    "not YAML": ("name: [1,\n", "is not YAML: line 2, column 1"),
    "a tab": ("name:\n\t- x\n", "is not YAML: line 2"),
    "a list": ("- a\n- b\n", "holds a list"),
    "empty": ("", "holds nothing"),
    "not text": (b"\xff\xfe\x00", "not text in UTF-8"),
    "a field too many": ("name: x\nupstreem: world\n", "/upstreem: there is no such field; did you mean 'upstream'?"),
    "a wrong type": ("name: x\nsizes: many\n", "/sizes: must be a list"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("command", ["run", "estimate"])
def test_a_file_that_is_no_study_is_told_in_plain_words(
    terminal: Terminal, command: str, kind: str, tmp_path: Path
) -> None:
    content, said = BAD_FILES[kind]
    file = tmp_path / "study.yaml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    answer = terminal.types(command, str(file))
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert said in answer.stderr
    assert not RAW_PYDANTIC.search(answer.stderr)


def test_a_catalogue_with_faults_is_told_in_plain_words(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(yaml.safe_dump({"encoders": [{"name": "A b", "modell": "library:x"}]}))
    answer = terminal.types("apply", str(file))
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "encoders.0.name: must be a name in lower-case letters" in answer.stderr
    assert "encoders.0.modell: there is no such field; did you mean 'model'?" in answer.stderr
    assert "encoders.0.model: this field is required" in answer.stderr
    assert not RAW_PYDANTIC.search(answer.stderr)


@pytest.mark.parametrize("change", ["foo=1", "sizes=abc", "arms=[{kind: dream}]", "seeds=[-1]", "name=null"])
def test_a_refused_change_is_said_once_and_in_plain_words(terminal: Terminal, change: str) -> None:
    answer = terminal.types("clone", "quick", "--set", change)
    assert (answer.exit_code, answer.stdout) == (2, "")
    pointer = "/" + change.partition("=")[0]
    assert answer.stderr.count(f"{pointer}: ") + answer.stderr.count(f"{pointer}/") == 1, answer.stderr
    assert "Input tag" not in answer.stderr
    assert not RAW_PYDANTIC.search(answer.stderr)


@pytest.mark.parametrize("change", ["foo", "=1", ".a=1", "sizes=[1,", "a=1 a.b=2"])
def test_a_change_that_is_no_assignment_is_told(terminal: Terminal, change: str) -> None:
    words = [word for each in change.split(" ") for word in ("--set", each)]
    answer = terminal.types("clone", "quick", *words)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert repr(change.split(" ")[-1]) in answer.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("grid", "quick", "{folder}/none/grid.png"), "cannot be written: there is no folder"),
        (("grid", "quick", "{folder}/grid.txt"), "does not end in a format of pictures"),
        (("report", "quick", "--figure", "{folder}/none/found.png"), "cannot be written: there is no folder"),
        (("predictions", "quick", "{folder}/none/p.parquet"), "cannot be written: there is no folder"),
        (("predictions", "quick", "{folder}"), "cannot be written: it is a folder"),
        (("grid", "quick", "/proc/grid.png"), "/proc/grid.png cannot be written: No such file or directory"),
        (("report", "quick", "--to", "/proc/report.md"), "/proc/report.md cannot be written"),
        (("predictions", "quick", "/proc/p.parquet"), "/proc/p.parquet cannot be written"),
    ],
)
def test_a_path_that_cannot_be_written_is_told_before_anything_is_drawn(
    terminal: Terminal, words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    answer = terminal.types(*(word.format(folder=tmp_path) for word in words))
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert said in " ".join(answer.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_a_grid_of_chosen_classes_is_drawn(terminal: Terminal, tmp_path: Path) -> None:
    picture = tmp_path / "grid.png"
    answer = terminal.types("grid", "quick", str(picture), "--class", "thing 1", "--json")
    told = json.loads(answer.stdout)
    assert (told["classes"], told["arms"]) == (["thing 1"], ["retrieved", "synthetic"])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_class_table_may_be_of_some_classes(terminal: Terminal) -> None:
    asked = ("classes", "quick", "retrieved", "--target", "fine", "--json")
    rows = json.loads(terminal.types(*asked, "--class", "thing 1").stdout)["classes"]
    assert [row["display_name"] for row in rows] == ["thing 1"]
    assert len(json.loads(terminal.types(*asked).stdout)["classes"]) == 3


def test_cancelling_what_has_ended_says_that_nothing_was_cancelled(terminal: Terminal) -> None:
    answer = terminal.types("cancel", "quick")
    said = f"{terminal.experiment} has succeeded already, so there is nothing to cancel\n"
    assert (answer.exit_code, answer.output) == (0, said)
    assert json.loads(terminal.types("cancel", "quick", "--json").stdout)["cancelled"] is False


def test_the_page_of_an_experiment_is_printed_in_a_pipe(terminal: Terminal) -> None:
    answer = terminal.types("open", "quick")
    assert answer.output == f"{terminal.server}/experiments/{terminal.experiment}\n"


def test_a_key_that_is_not_known_says_how_to_give_another(terminal: Terminal) -> None:
    answer = terminal.types("list", **{KEY_VARIABLE: "ts_of-somebody-else"})
    assert (answer.exit_code, "touchstone login" in answer.stderr) == (2, True)


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://x", ""])
def test_an_address_that_is_none_is_refused(terminal: Terminal, address: str) -> None:
    answer = terminal.types("list", "--server", address)
    assert (answer.exit_code, "is not an address such as" in answer.stderr) == (2, True), answer.output


def test_a_dead_server_is_told_within_three_seconds_with_what_to_do() -> None:
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{refusing.getsockname()[1]}"
        started = time.monotonic()
        answer = CliRunner().invoke(app, ["list"], env={"TOUCHSTONE_SERVER": server, KEY_VARIABLE: "k"})
    assert time.monotonic() - started < 3
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert answer.stderr.startswith(f"no answer from {server}: ")
    assert "make up" in answer.stderr
    assert "TOUCHSTONE_SERVER" in answer.stderr


def test_of_a_silent_server_it_is_told_soon_and_then_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(touchstone.terminal, "BUSY_FOR", 1.0)
    assert touchstone.terminal.ANSWERS_WITHIN < 3
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        server = f"http://127.0.0.1:{silent.getsockname()[1]}"
        answer = CliRunner().invoke(app, ["list"], env={"TOUCHSTONE_SERVER": server, KEY_VARIABLE: "k"})
    assert (answer.exit_code, answer.stdout) == (1, "")
    told, *rest = answer.stderr.splitlines()
    assert told == f"no answer from {server} for 2.5 s; waiting for up to 1 s more"
    assert rest[0].startswith(f"no answer from {server}: ")
    assert "make up" in rest[1]


def test_a_server_that_is_slow_to_answer_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first answer comes when the terminal has said that there is none."""
    monkeypatch.setattr(touchstone.terminal, "ANSWERS_WITHIN", 0.2)
    asked: list[str] = []
    asked_again = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path.partition("?")[0])
            asked_again.wait(10) if len(asked) == 1 else asked_again.set()
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """To nobody."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as slow:
        threading.Thread(target=slow.serve_forever, daemon=True).start()
        server = f"http://127.0.0.1:{slow.server_port}"
        answer = CliRunner().invoke(app, ["list"], env={"TOUCHSTONE_SERVER": server, KEY_VARIABLE: "k"})
        slow.shutdown()
    assert answer.stderr.startswith(f"no answer from {server} for 0.2 s; waiting for up to 30 s more\n")
    assert asked == ["/healthz", "/healthz", "/v1/experiments"]


def test_another_kind_of_server_is_told_in_plain_words() -> None:
    """Some web server that answers everything with a page."""
    code = (
        "import http.server, sys\n"
        "class Page(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(b'{\"pages\": 1}')\n"
        "    def log_message(self, *words): pass\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), Page)\n"
        "print(server.server_port, flush=True); server.serve_forever()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        server = f"http://127.0.0.1:{other.stdout.readline().strip()}"
        answer = CliRunner().invoke(app, ["storage", "--server", server], env={KEY_VARIABLE: "k"})
        other.terminate()
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "either that is no Touchstone server, or its release is another" in answer.stderr
    assert not RAW_PYDANTIC.search(answer.stderr)


@pytest.mark.parametrize(
    "words",
    [("list",), ("show", "quick"), ("results", "quick"), ("verdict", "quick"), ("steps", "quick"), ("labels", "quick"),
     ("classes", "quick", "retrieved", "--target", "fine"), ("curation", "quick", "retrieved", "--target", "fine"),
     ("list", "targets"), ("storage",), ("project",), ("keys", "list")],
    ids=" ".join,
)  # fmt: skip
def test_tables_are_whole_on_a_terminal_of_80_columns(terminal: Terminal, words: tuple[str, ...]) -> None:
    shown = terminal.types(*words, FORCE_COLOR="1", COLUMNS="80")
    assert shown.exit_code == 0
    lines = ANSI.sub("", shown.output).splitlines()
    rows = [line for line in lines if line[:1] and line[0] in "┃│┏└├ "]
    assert lines
    assert [line for line in rows if len(line) > 80] == []
    assert [line for line in lines if "…" in line] == []


def test_nothing_but_the_answer_goes_into_a_pipe(terminal: Terminal) -> None:
    command = [sys.executable, "-m", "touchstone", "show", "quick", "--watch"]
    environment = os.environ | {KEY_VARIABLE: OPERATOR_KEY, "TOUCHSTONE_SERVER": terminal.server}
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "Verdict: retrieved beats synthetic" in answer.stdout
    assert not ANSI.search(answer.stdout)
    assert "left" not in answer.stdout.lower().replace("left out", "")


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """Shells start what runs in the background with interrupts ignored, and processes inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_interrupts")
def test_an_interrupt_says_that_the_experiment_goes_on(terminal: Terminal, tmp_path: Path) -> None:
    """No worker takes the steps of the copy, so it would be watched for ever."""
    clone = ("clone", "quick", "--set", "seeds=[7, 8]", "--watch", "--server", terminal.server)
    command = [sys.executable, "-m", "touchstone", *clone]
    environment = os.environ | {KEY_VARIABLE: OPERATOR_KEY}
    watching = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    )
    assert watching.stdout is not None
    experiment = watching.stdout.readline().partition(":")[0]
    said = interrupted(watching)
    assert watching.returncode == 130
    assert f"Experiment {experiment} goes on." in said
    assert f"touchstone show {experiment} --watch" in said
    assert f"touchstone cancel {experiment}" in said
    cancelled = terminal.types("cancel", experiment)
    assert cancelled.output == f"{experiment}: cancelled\n"
    assert "was cancelled already" in terminal.types("cancel", experiment).output
    several = terminal.types("show", "quick")
    assert terminal.types("retry", experiment).output == f"{experiment}: queued\n"
    terminal.types("cancel", experiment)
    assert (several.exit_code, "2 experiments are called 'quick'; use an id: " in several.stderr) == (2, True)
    assert json.loads(terminal.types("delete", experiment, "--json").stdout) == {"id": experiment, "deleted": True}


def interrupted(process: "subprocess.Popen[str]") -> str:
    """What it says on stderr. Python loses an interrupt that comes while an object is finalised: then one presses
    again."""
    for _ in range(6):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=10)[1]
    raise AssertionError("six interrupts did not end it")


def completed(terminal: Terminal, words: str) -> list[str]:
    variables = {"_TOUCHSTONE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    environment = {KEY_VARIABLE: OPERATOR_KEY, "TOUCHSTONE_SERVER": terminal.server, **variables}
    return CliRunner().invoke(app, [], prog_name="touchstone", env=environment).output.split()


@pytest.mark.parametrize("command", ["show", "verdict", "cancel", "results", "clone", "retry"])
def test_ids_and_names_are_completed(terminal: Terminal, command: str) -> None:
    assert completed(terminal, f"touchstone {command} exp_") == [terminal.experiment]
    assert completed(terminal, f"touchstone {command} qu") == ["quick"]


def test_upstreams_are_completed_where_they_can_stand_and_a_dead_server_offers_nothing(terminal: Terminal) -> None:
    assert completed(terminal, "touchstone steps upstream/") == ["upstream/world"]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = Terminal(f"http://127.0.0.1:{closed.getsockname()[1]}", "")
        assert completed(nowhere, "touchstone show exp_") == []
