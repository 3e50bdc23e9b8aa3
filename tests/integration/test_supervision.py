"""Processes under supervisord: started, restarted, stopped, and found again after the worst."""

import itertools
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from touchstone_stack.processes import Process, Stages, answers
from touchstone_stack.servers import LOOPBACK, free_ports
from touchstone_stack.state import Folder, State, new_state
from touchstone_stack.supervision import (
    StackFailed,
    Supervisor,
    end_strays,
    strays,
    supervisor_configuration,
)


def web_server(folder: Folder, name: str) -> Process:
    port = free_ports(1)[0]
    return Process(
        name=name,
        command=(sys.executable, "-m", "http.server", str(port), "--bind", LOOPBACK),
        folder=folder.path,
        ready=lambda: answers(f"http://{LOOPBACK}:{port}/"),
        environment={"AN_ODD_VALUE": "50% (of, it) a=b"},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    stack = Folder(tmp_path / "stack % odd name")
    stack.path.mkdir()
    yield stack
    end_strays(stack)


@pytest.fixture
def state() -> State:
    return new_state(api_port=1)


def launched(folder: Folder, state: State, stages: Stages) -> Supervisor:
    supervisor = Supervisor(folder, state)
    supervisor.launch(supervisor_configuration(folder, state, stages))
    return supervisor


def wait_for(condition: Callable[[], bool]) -> None:
    process = Process("condition", (), Path(), condition)
    for _ in range(200):
        if process.ready():
            return
        psutil.cpu_percent(interval=0.05)  # a measured pause: it returns after the interval
    raise AssertionError("the condition never came true")


def test_a_killed_process_comes_back_under_another_pid(folder: Folder, state: State) -> None:
    web = web_server(folder, "web")
    supervisor = launched(folder, state, ((web,),))
    supervisor.start("web")
    supervisor.wait_ready(web, within=20)
    first = supervisor.pid_of("web")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: supervisor.pid_of("web") not in (0, first) and web.ready())
    supervisor.shut_down()
    assert strays(folder) == []


def test_the_configuration_holds_secrets_and_is_private(folder: Folder, state: State) -> None:
    launched(folder, state, ()).shut_down()
    path = folder.path / "supervisord.conf"
    assert state.secrets.supervisor.get_secret_value() in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_starting_twice_starts_once(folder: Folder, state: State) -> None:
    web = web_server(folder, "web")
    supervisor = launched(folder, state, ((web,),))
    supervisor.start("web")
    supervisor.wait_ready(web, within=20)
    pid = supervisor.pid_of("web")
    supervisor.start("web")
    assert supervisor.pid_of("web") == pid
    supervisor.shut_down()


def test_what_a_killed_supervisor_leaves_behind_is_found_and_ended(folder: Folder, state: State) -> None:
    web = web_server(folder, "web")
    supervisor = launched(folder, state, ((web,),))
    supervisor.start("web")
    supervisor.wait_ready(web, within=20)
    os.kill(int((folder.path / "supervisord.pid").read_text()), signal.SIGKILL)
    wait_for(lambda: not supervisor.answers())
    assert len(strays(folder)) == 1, "the process outlives its supervisor"
    assert end_strays(folder) == 1
    assert strays(folder) == []


def test_another_stacks_supervisor_is_not_ours(folder: Folder, state: State, tmp_path: Path) -> None:
    supervisor = launched(folder, state, ())
    assert supervisor.answers()
    assert not Supervisor(Folder(tmp_path / "other"), state).answers()
    assert not Supervisor(folder, new_state(1).model_copy(update={"supervisor_port": state.supervisor_port})).answers()
    supervisor.shut_down()
    assert not supervisor.answers()


def test_what_ends_at_once_is_told_of_soon_started_ever_later_and_never_given_up(folder: Folder, state: State) -> None:
    gate = folder.path / "repaired"
    starts = folder.path / "starts"
    program = f"import os, time; open({str(starts)!r}, 'a').write(f'{{time.time()}}\\n'); "
    program += f"time.sleep(60) if os.path.exists({str(gate)!r}) else print('no such option')"
    broken = Process("broken", (sys.executable, "-c", program), folder.path, ready=gate.exists)
    supervisor = launched(folder, state, ((broken,),))
    supervisor.start("broken")
    with pytest.raises(StackFailed, match=r"ends again and again(.|\n)*no such option"):
        supervisor.wait_ready(broken, within=30)
    assert supervisor.state_of("broken") in {"STARTING", "BACKOFF"}
    wait_for(lambda: len(starts.read_text().split()) >= 5)  # supervisord's own limit is three tries after the first
    moments = [float(line) for line in starts.read_text().split()]
    pauses = [after - before for before, after in itertools.pairwise(moments)]
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0] + 1
    gate.touch()
    supervisor.start("broken")  # at once, whatever the pause has grown to
    wait_for(lambda: supervisor.state_of("broken") == "STARTING" and supervisor.pid_of("broken") > 0)
    supervisor.shut_down()


def test_a_process_that_is_never_ready_fails_with_the_end_of_its_log(folder: Folder, state: State) -> None:
    command = ("sh", "-c", "echo no such option; sleep 60")
    broken = Process("broken", command, folder.path, ready=lambda: False)
    supervisor = launched(folder, state, ((broken,),))
    supervisor.start("broken")
    wait_for(lambda: (folder.logs / "broken.log").exists() and (folder.logs / "broken.log").stat().st_size > 0)
    with pytest.raises(StackFailed, match="no such option"):
        supervisor.wait_ready(broken, within=0.2)
    supervisor.shut_down()
