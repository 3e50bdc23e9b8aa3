"""Passwords reach no log, no error and no repr, whoever writes them there."""

import base64
import logging
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from pydantic import SecretStr
from support.leaks import leaks, require_no_leak, secrets_of
from touchstone_api.settings import ApiSettings
from touchstone_conductor.settings import ConductorSettings
from touchstone_contracts.problems import Invalid, Transient
from touchstone_contracts.redaction import HIDDEN, passwords_in, redacted
from touchstone_generator.settings import GeneratorSettings
from touchstone_judge.settings import JudgeSettings
from touchstone_retrieval.settings import RetrievalSettings
from touchstone_runtime.logs import configure_logs, get_logger, recent_lines
from touchstone_runtime.serving import problem_of
from touchstone_runtime.settings import RuntimeSettings
from touchstone_stack.state import Secrets
from touchstone_trainer.settings import TrainerSettings

PASSWORD = "correct-horse-battery"
SETTINGS = (
    ApiSettings, ConductorSettings, RetrievalSettings, GeneratorSettings, TrainerSettings, JudgeSettings,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"redis://:{PASSWORD}@host:6379/0 is away", f"redis://:{HIDDEN}@host:6379/0 is away"),
        (f"postgresql+psycopg://me:{PASSWORD}@host/db", f"postgresql+psycopg://me:{HIDDEN}@host/db"),
        (f"amqp://me:{PASSWORD}@@host", f"amqp://me:{HIDDEN}@host"),
        (f"two http://a:{PASSWORD}@x http://b:{PASSWORD}@y", f"two http://a:{HIDDEN}@x http://b:{HIDDEN}@y"),
        (f"postgresql://h/db?user=me&password={PASSWORD}&x=1", f"postgresql://h/db?user=me&password={HIDDEN}&x=1"),
        ("http://127.0.0.1:8000/v1 and a@b.org", "http://127.0.0.1:8000/v1 and a@b.org"),
        ("http://host:8000/a?mail=a@b.org", "http://host:8000/a?mail=a@b.org"),
    ],
)
def test_a_url_loses_its_password_and_nothing_else(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_a_password_of_a_url_is_known_as_written_and_as_meant() -> None:
    assert passwords_in("redis://:p%40ss-word@host/0") == ("p%40ss-word", "p@ss-word")
    assert passwords_in("sqlite:///touchstone.db") == ()
    assert passwords_in(PASSWORD) == (PASSWORD,)
    assert passwords_in("") == ()


def test_errors_are_told_without_passwords() -> None:
    for error in (Invalid(f"redis://:{PASSWORD}@host"), Transient(f"no answer of s3://a:{PASSWORD}@host")):
        assert PASSWORD not in f"{error} {error.detail} {error.problem()!r} {error!r}"
    assert PASSWORD not in problem_of(ValueError(f"redis://:{PASSWORD}@host")).detail


@pytest.fixture
def logged() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_line_of_a_log_holds_a_secret(capsys: pytest.CaptureFixture[str], logged: None, log_format: str) -> None:
    configure_logs("info", log_format, [PASSWORD])
    log = get_logger(__name__)
    log.info("event", url=f"redis://:{PASSWORD}@host", key=PASSWORD, nested={"a": [PASSWORD]})
    logging.getLogger("celery").error("Cannot connect to %s", f"rediss://:other-password@host//: {PASSWORD}")
    try:
        raise ValueError(PASSWORD)
    except ValueError as error:
        log.error("bug", exc_info=error)
    written = capsys.readouterr().err
    assert written.count(HIDDEN) >= 6
    texts = {"stderr": written, "recent": recent_lines()}
    assert require_no_leak(texts, [PASSWORD, "other-password"]) > 500


@pytest.mark.parametrize("settings", SETTINGS)
def test_no_settings_show_a_secret(settings: type[RuntimeSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("S3_SECRET_KEY", "QDRANT_API_KEY"):
        monkeypatch.setenv(f"TOUCHSTONE_{name}", f"{PASSWORD}-{name}")
    for name, scheme in (("REDIS", "redis"), ("DATABASE", "postgresql")):
        monkeypatch.setenv(f"TOUCHSTONE_{name}_URL", f"{scheme}://me:{PASSWORD}-{name}@host/0")
    made = settings()
    assert {f"{PASSWORD}-REDIS", f"{PASSWORD}-S3_SECRET_KEY"} <= set(made.secrets)
    shown = {"repr": repr(made), "str": str(made), "json": made.model_dump_json(), "dict": repr(made.model_dump())}
    assert require_no_leak(shown, secrets_of(made)) > 1000


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_is_called_a_secret_is_of_a_type_that_hides_it(settings: type[RuntimeSettings]) -> None:
    named = [name for name in settings.model_fields if name.endswith(("_secret_key", "_api_key", "password", "_token"))]
    urls = [name for name in settings.model_fields if name in {"redis_url", "database_url"}]
    assert named
    assert urls
    assert {settings.model_fields[name].annotation for name in (*named, *urls)} == {SecretStr}


def test_the_state_of_a_stack_shows_no_secret_but_keeps_it() -> None:
    secrets = Secrets()
    hidden = [getattr(secrets, name).get_secret_value() for name in ("valkey", "s3_secret_key", "supervisor")]
    require_no_leak({"repr": repr(secrets), "dict": repr(secrets.model_dump())}, hidden)
    assert Secrets.model_validate_json(secrets.model_dump_json()) == secrets


def test_leaks_are_found_in_every_form_and_not_repeated() -> None:
    secret = "p@ss/word=with signs"
    in_base64 = [base64.b64encode(b"x" * before + secret.encode() + b"yz") for before in range(3)]
    for text in (secret.encode(), quote(secret, safe="").encode(), *in_base64, f"first\n{secret}".encode()):
        [found] = leaks({"log": text}, [secret])
        assert found.startswith("log:")
        assert secret not in found
    assert leaks({"log": "nothing here"}, [secret]) == []
    with pytest.raises(AssertionError, match=r"stand in a:1, b:2"):
        require_no_leak({"a": secret, "b": f"\n{secret}"}, [secret])
    with pytest.raises(AssertionError, match="nothing to look for"):
        require_no_leak({"a": "text"}, [])
