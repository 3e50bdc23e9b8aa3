"""Every form of a URL of Redis works for every client of the system, against real servers."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import SecretStr
from support.echo_steps import echo_message, echo_worker
from support.servers import server_missing
from support.valkey_forms import MASTER, USER, USERS_PASSWORD, ValkeyForms, valkey_in_every_form
from touchstone_contracts.messages import LiveWorker, StepFailed, StepMessage, StepSucceeded
from touchstone_contracts.problems import Transient
from touchstone_runtime.objects import S3Objects
from touchstone_runtime.presence import connect_presence
from touchstone_runtime.queue import CeleryDispatcher, celery_app
from touchstone_runtime.redis_connections import connect_redis
from touchstone_runtime.reports import connect_reports
from touchstone_runtime.settings import RuntimeSettings
from touchstone_stack.servers import ServerFailed, ServerMissing

LOGIN = f"{quote(USER, safe='')}:{quote(USERS_PASSWORD, safe='')}"
FORMS: dict[str, Callable[[ValkeyForms], str]] = {
    "path": lambda it: f"redis://:{it.password}@127.0.0.1:{it.port}/3",
    "query": lambda it: f"redis://:{it.password}@127.0.0.1:{it.port}?db=3",
    "celery's query": lambda it: f"redis://:{it.password}@127.0.0.1:{it.port}/?virtual_host=3",
    "host by name": lambda it: f"redis://default:{it.password}@localhost:{it.port}/3",
    "reserved characters": lambda it: f"redis://{LOGIN}@127.0.0.1:{it.port}/3",
    "socket of redis-py": lambda it: f"unix://:{it.password}@{quote(str(it.socket))}?db=3",
    "password in the query": lambda it: f"unix://{quote(str(it.socket))}?db=3&password={it.password}",
    "socket of Celery": lambda it: f"redis+socket://:{it.password}@{quote(str(it.socket))}?virtual_host=3",
    "user at a socket": lambda it: f"unix://{LOGIN}@{quote(str(it.socket))}?db=3",
    "sentinel": lambda it: (
        f"sentinel://:{it.password}@127.0.0.1:{it.sentinel_port}/3?master_name={MASTER}"
        f"&sentinel_password={it.sentinel_password}"
    ),
    "sentinels, one of them away": lambda it: (
        f"sentinel://{LOGIN}@127.0.0.1:1/3;sentinel://127.0.0.1:{it.sentinel_port}/3?master_name={MASTER}"
        f"&sentinel_password={it.sentinel_password}"
    ),
}
WORKERS = ("reserved characters", "socket of redis-py", "socket of Celery", "sentinels, one of them away")


@pytest.fixture(scope="module")
def forms() -> Iterator[ValkeyForms]:
    # Not below pytest's folder, whose path is longer than that of a socket may be.
    with tempfile.TemporaryDirectory(prefix="ts-") as folder:
        try:
            with valkey_in_every_form(Path(folder)) as there:
                yield there
        except (ServerMissing, ServerFailed) as error:
            server_missing(str(error))


@pytest.mark.parametrize("form", FORMS)
def test_every_client_reaches_the_same_database_by_every_form(forms: ValkeyForms, form: str) -> None:
    url = FORMS[form](forms)
    plain = connect_redis(FORMS["path"](forms))
    plain.flushdb()
    client = connect_redis(url)
    client.set("said", form)
    assert plain.get("said") == form.encode()

    CeleryDispatcher(celery_app(url)).send(message := echo_message("write"))
    assert CeleryDispatcher(celery_app(url)).waiting(f"{message.kind}.{message.version}") == 1
    assert plain.llen(f"{message.kind}.{message.version}") == 1

    connect_reports(url).note_attempt(message.step_id, 2)
    assert connect_reports(FORMS["path"](forms)).is_unwanted(message.step_id, 1)
    connect_presence(url).announce(worker := LiveWorker(name="w", queue="retrieval", channels=("a.1",)), 60)
    assert connect_presence(FORMS["path"](forms)).live() == (worker,)
    assert RuntimeSettings(redis_url=SecretStr(url)).redis_url.get_secret_value() == url


@pytest.mark.parametrize("form", WORKERS)
def test_a_worker_takes_a_step_by_each_transport_and_logs_no_password(
    forms: ValkeyForms, form: str, s3_settings: RuntimeSettings, s3_objects: S3Objects, tmp_path: Path
) -> None:
    url = FORMS[form](forms)
    connect_redis(FORMS["path"](forms)).flushdb()
    line, message = connect_reports(FORMS["path"](forms)), echo_message("write")
    with echo_worker(url, s3_settings, tmp_path / "log", heartbeat_seconds=0.2):
        CeleryDispatcher(celery_app(FORMS["path"](forms))).send(message)
        ended = _outcome(line, message)
    assert isinstance(ended, StepSucceeded), (tmp_path / "log").read_text()
    log = (tmp_path / "log").read_text()
    assert log
    for secret in (forms.password, forms.sentinel_password, USERS_PASSWORD, quote(USERS_PASSWORD, safe="")):
        assert secret not in log


def _outcome(line: object, message: StepMessage) -> StepSucceeded | StepFailed | None:
    for _ in range(60):
        for report in line.receive(1.0):  # type: ignore[attr-defined]
            if report.step_id == message.step_id and isinstance(report, StepSucceeded | StepFailed):
                return report
    return None


@pytest.mark.parametrize("form", ["sentinel", "socket of redis-py", "reserved characters"])
def test_a_wrong_password_is_an_outage_that_repeats_no_secret(forms: ValkeyForms, form: str) -> None:
    url = FORMS[form](forms)
    for secret in (forms.password, quote(USERS_PASSWORD, safe="")):
        url = url.replace(f":{secret}@", ":mistaken-word@")
    with pytest.raises(Transient) as by_redis:
        connect_reports(url).is_unwanted("0" * 64, 1)
    with pytest.raises(Transient) as by_celery:
        CeleryDispatcher(celery_app(url)).send(echo_message("write"))
    for refused in (by_redis, by_celery):
        assert "mistaken-word" not in str(refused.value)
        assert forms.sentinel_password not in str(refused.value)
