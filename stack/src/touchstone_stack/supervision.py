"""Running the processes under supervisord: it restarts what ends, keeps the logs and outlives the terminal."""

import io
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import Faults

from touchstone_stack.processes import OWNER_VARIABLE, Process, Stages, inherited_environment
from touchstone_stack.servers import LOOPBACK, last_lines, private_file
from touchstone_stack.state import Folder, State

FAILED_STARTS = 3
"""After so many, a process that was asked for is said not to start. It is tried again all the same."""
NEVER = 10**9
"""How many failed starts supervisord gives a process up after. Each pause before another is a second longer."""

SERVERS = frozenset({"valkey", "s3"})


class StackFailed(Exception):
    """A process cannot be started or stopped; the message holds the end of its log."""


def supervisor_configuration(folder: Folder, state: State, stages: Stages, settled_seconds: int = 20) -> str:
    """`settled_seconds`: a process that ends sooner after its start counts as failed."""
    parser = RawConfigParser()
    parser["inet_http_server"] = {
        "port": f"{LOOPBACK}:{state.supervisor_port}",
        "username": "touchstone",
        "password": state.secrets.supervisor.get_secret_value(),
    }
    parser["supervisord"] = {
        "identifier": _identifier(folder),
        "logfile": _literal(folder.path / "supervisord.log"),
        "pidfile": _literal(folder.path / "supervisord.pid"),
        "childlogdir": _literal(folder.logs),
        "umask": "077",
    }
    parser["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    for priority, stage in enumerate(stages):
        for process in stage:
            parser[f"program:{process.name}"] = _program(folder, process, priority, settled_seconds)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def _program(folder: Folder, process: Process, priority: int, settled_seconds: int) -> dict[str, str]:
    environment = ",".join(f'{name}="{_literal(value)}"' for name, value in process.environment.items())
    return {
        "command": _literal(shlex.join(process.command)),
        "directory": _literal(process.folder),
        "environment": environment,
        "priority": str(priority),
        "autostart": "false",
        "autorestart": "true",
        "startsecs": str(settled_seconds),
        "startretries": str(NEVER),
        "stopwaitsecs": str(process.stop_seconds),
        "stopasgroup": "true",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _literal(_literal(log_of(folder, process.name))),  # supervisord expands this one twice
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": "2",
    }


def _literal(value: object) -> str:
    """supervisord expands %(...)s; a percent sign of ours means itself."""
    return str(value).replace("%", "%%")


def _identifier(folder: Folder) -> str:
    return f"touchstone:{_literal(folder.path)}"


def log_of(folder: Folder, name: str) -> Path:
    return folder.logs / f"{name}.log"


@contextmanager
def _unless(fault: int) -> Iterator[None]:
    """What was asked for had happened meanwhile."""
    try:
        yield
    except xmlrpc.client.Fault as refused:
        if refused.faultCode != fault:
            raise


class Supervisor:
    """The supervisord of one stack, spoken to over its loopback port."""

    def __init__(self, folder: Folder, state: State) -> None:
        self._folder = folder
        user = f"touchstone:{state.secrets.supervisor.get_secret_value()}"
        proxy = xmlrpc.client.ServerProxy(f"http://{user}@{LOOPBACK}:{state.supervisor_port}/RPC2")
        self._rpc: Any = proxy.supervisor

    def answers(self) -> bool:
        """Whether our supervisord is there: another stack's, or another program, on its port does not count."""
        try:
            return bool(self._rpc.getIdentification() == _identifier(self._folder).replace("%%", "%"))
        except (OSError, HTTPException, xmlrpc.client.Error):
            return False

    def launch(self, configuration: str) -> None:
        """Starts supervisord as a daemon; it starts no process by itself."""
        self._folder.logs.mkdir(parents=True, exist_ok=True)
        path = private_file(self._folder.path / "supervisord.conf", configuration)
        subprocess.run(
            (sys.executable, "-m", "supervisor.supervisord", "-c", str(path)),
            env=inherited_environment(self._folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        deadline = time.monotonic() + 20
        while not self.answers():
            if time.monotonic() > deadline:
                log = self._folder.path / "supervisord.log"
                raise StackFailed(f"supervisord does not answer:\n{last_lines(log)}")
            time.sleep(0.05)

    def start(self, name: str) -> None:
        """Nothing happens when it runs already. What waits to be started again is started at once."""
        state = self.state_of(name)
        if state == "BACKOFF":
            self.stop(name)
        if state not in {"STARTING", "RUNNING"}:
            with _unless(Faults.ALREADY_STARTED):
                self._rpc.startProcess(name, False)

    def stop(self, name: str) -> None:
        """It stays away until it is started. Nothing happens when it does not run."""
        if self.state_of(name) in {"STARTING", "RUNNING", "BACKOFF"}:
            with _unless(Faults.NOT_RUNNING):
                self._rpc.stopProcess(name)

    def state_of(self, name: str) -> str:
        return str(self._rpc.getProcessInfo(name)["statename"])

    def pid_of(self, name: str) -> int:
        """0 while it is not running."""
        return int(self._rpc.getProcessInfo(name)["pid"])

    def wait_ready(self, process: Process, within: float) -> float:
        """Seconds it took. Raises StackFailed when it ends again and again, or is not ready in time."""
        started, starts = time.monotonic(), set[int]()
        while not process.ready():
            waited = time.monotonic() - started
            starts.add(self._rpc.getProcessInfo(process.name)["start"])
            if len(starts) > FAILED_STARTS or waited > within:
                log = log_of(self._folder, process.name)
                reason = f"is not ready after {waited:.0f} s" if waited > within else "ends again and again"
                raise StackFailed(f"{process.name} {reason}; the end of {log}:\n{last_lines(log)}")
            time.sleep(0.1)
        return time.monotonic() - started

    def shut_down(self, within: float = 60.0) -> None:
        """supervisord stops one process after the other; those that only use the servers may all stop at once."""
        pid = int(self._rpc.getPID())
        for process in self._rpc.getAllProcessInfo():
            if process["name"] not in SERVERS:
                with suppress(xmlrpc.client.Fault):  # it was not running
                    self._rpc.stopProcess(process["name"], False)
        self._rpc.shutdown()
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(within)


def strays(folder: Folder) -> list[psutil.Process]:
    """Processes of this stack that run although its supervisord does not (it was killed, say)."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            if process.environ().get(OWNER_VARIABLE) == str(folder.path):
                found.append(process)
    return found


def end_strays(folder: Folder) -> int:
    """How many there were."""
    found = strays(folder)
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(found, timeout=5)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    return len(found)
