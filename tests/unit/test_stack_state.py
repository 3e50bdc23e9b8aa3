"""What a stack remembers, what it tells its processes, and how its command line reads."""

import socket
import stat
from configparser import RawConfigParser
from pathlib import Path

import pytest
from touchstone_stack import state as module
from touchstone_stack.__main__ import build_stack, parse_arguments
from touchstone_stack.lifecycle import threads_per_worker
from touchstone_stack.processes import Layout, inherited_environment, stages
from touchstone_stack.state import Folder, PortTaken, Secrets, State, refreshed
from touchstone_stack.supervision import supervisor_configuration


@pytest.fixture
def state() -> State:
    return State(
        api_port=8000,
        valkey_port=20_000,
        supervisor_port=20_001,
        s3_ports=tuple(range(20_010, 20_019)),
        health_ports={
            "conductor": 20_002,
            "retrieval": 20_003,
            "generator": 20_004,
            "trainer": 20_005,
            "trainer-2": 20_006,
            "judge": 20_007,
        },
        secrets=Secrets(),
    )


def taken(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    monkeypatch.setattr(module, "is_free", lambda port: port not in ports)
    monkeypatch.setattr(module, "free_ports", lambda count: list(range(30_000, 30_000 + count)))


def test_a_taken_api_port_is_an_error_that_names_the_remedy(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    taken(monkeypatch, 8000)
    with pytest.raises(PortTaken, match=r"port 8000 is taken.*TOUCHSTONE_PORT"):
        refreshed(state, 8000)


def test_ports_are_kept_where_they_are_free(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    taken(monkeypatch)
    assert refreshed(state, 8123) == state.model_copy(update={"api_port": 8123})


def test_one_taken_port_gives_new_ports_and_keeps_the_credentials(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(monkeypatch, state.valkey_port)
    renewed = refreshed(state, 8000)
    assert renewed.secrets == state.secrets
    assert not set(renewed.ports) & set(state.ports)
    assert len(set(renewed.ports)) == len(renewed.ports) == 17


def test_the_state_is_private_and_comes_back(state: State, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write_state(state)
    assert stat.S_IMODE(folder.state_file.stat().st_mode) == 0o600
    assert folder.read_state() == state


@pytest.mark.parametrize("content", ["", "{", '{"api_port": 1}'])
def test_a_damaged_state_counts_as_none(tmp_path: Path, content: str) -> None:
    Folder(tmp_path).state_file.write_text(content)
    assert Folder(tmp_path).read_state() is None


def test_every_process_reaches_the_same_servers_and_each_answers_on_its_own_port(state: State, tmp_path: Path) -> None:
    layout = Layout(Folder(tmp_path), tmp_path / "library", threads=1, extra={"TOUCHSTONE_LEASE_SECONDS": "4"})
    servers, serving, conductors = stages(layout, state)
    assert [process.name for process in servers] == ["valkey", "s3"]
    processes = [*serving, *conductors]
    assert [process.name for process in processes] == [
        "api",
        "retrieval",
        "generator",
        "trainer",
        "trainer-2",
        "judge",
        "conductor",
    ]
    for process in processes:
        assert process.environment["TOUCHSTONE_REDIS_URL"] == state.redis_url
        assert process.environment["TOUCHSTONE_LEASE_SECONDS"] == "4"
    health = [process.environment.get("TOUCHSTONE_METRICS_PORT") for process in processes]
    assert health == [None, "20003", "20004", "20005", "20006", "20007", "20002"]


def test_every_worker_has_the_threads_of_the_stack_but_the_judge_has_one(state: State, tmp_path: Path) -> None:
    _, serving, _ = stages(Layout(Folder(tmp_path), tmp_path, threads=4), state)
    names = ("TOUCHSTONE_THREADS", "OMP_NUM_THREADS")
    threads = {process.name: tuple(process.environment[name] for name in names) for process in serving}
    assert threads.pop("judge") == ("1", "1")
    assert len(threads) == 5
    assert set(threads.values()) == {("4", "4")}


def test_no_secret_stands_on_a_command_line(state: State, tmp_path: Path) -> None:
    layout = Layout(Folder(tmp_path), tmp_path, threads=1)
    commands = [" ".join(process.command) for stage in stages(layout, state) for process in stage]
    assert len(commands) == 9
    for secret in state.secrets.model_dump(mode="json").values():
        assert not any(secret in command for command in commands)


def test_the_configuration_names_every_process_and_starts_none_by_itself(state: State, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    parser = RawConfigParser()
    parser.read_string(supervisor_configuration(folder, state, stages(Layout(folder, tmp_path, threads=1), state)))
    programs = [section for section in parser.sections() if section.startswith("program:")]
    assert len(programs) == 9
    assert {parser[program]["autostart"] for program in programs} == {"false"}
    assert {parser[program]["autorestart"] for program in programs} == {"true"}


def test_settings_of_the_callers_environment_do_not_leak_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTONE_DATABASE_URL", "postgresql://elsewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    kept = {
        "TOUCHSTONE_GPU_HOUR_PRICE": "1.2",
        "TOUCHSTONE_ALLOWED_HOSTS": "example.org",
        "TOUCHSTONE_DOWNLOAD_PRIVATE_ADDRESSES": "true",
        "TOUCHSTONE_MAX_UPLOAD_BYTES": "1000",
    }
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    environment = inherited_environment(Folder(tmp_path))
    assert "TOUCHSTONE_DATABASE_URL" not in environment
    assert kept.items() <= environment.items()
    assert environment["HTTPS_PROXY"] == "http://proxy"


def test_the_port_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTONE_PORT", "8123")
    options = parse_arguments(["up", "--library", "world"])
    from touchstone.tables import console_for_output

    stack = build_stack(options, console_for_output())
    assert stack.api_port == 8123
    assert stack.catalogue == Path("world/catalogue.yaml")
    assert stack.folder.path.is_absolute()


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 4)])
def test_workers_share_the_cores(cores: int, threads: int) -> None:
    assert threads_per_worker(cores) == threads


def test_sockets_are_off_in_unit_tests() -> None:
    with pytest.raises(Exception, match="A test tried to use socket"):
        socket.socket()
