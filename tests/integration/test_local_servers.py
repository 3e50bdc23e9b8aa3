"""The servers that local runs and tests stand on tell the truth."""

import subprocess
from pathlib import Path

import pytest
import redis
import sqlalchemy
from pydantic import SecretStr
from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import Transient
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import connect_objects
from touchstone_runtime.settings import RuntimeSettings
from touchstone_stack.servers import (
    Server,
    ServerFailed,
    end,
    free_ports,
    running,
    valkey_server,
)
from touchstone_stack.servers import (
    valkey_url as url_of_valkey,
)


def test_valkey_refuses_a_wrong_password(valkey_url: str) -> None:
    address = valkey_url.split("@")[1]
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(f"redis://:wrong@{address}").ping()
    assert redis.Redis.from_url(valkey_url).ping()


def test_what_valkey_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    port, password = free_ports(1)[0], "secret"
    server = valkey_server(tmp_path, port, password)
    client = redis.Redis.from_url(url_of_valkey(port, password))
    with running(server) as process:
        client.rpush("list", *range(1000))
        process.kill()
        process.wait()
    with running(server):
        assert client.llen("list") == 1000


def test_a_blob_written_to_s3_comes_back(artifacts_on_s3: Artifacts) -> None:
    blob = artifacts_on_s3.put_blob(b"twelve bytes")
    assert artifacts_on_s3.get_blob(blob) == b"twelve bytes"
    assert artifacts_on_s3.get_image(sha256(b"bytes"), blob.digest, 7, 5) == b"bytes"


def test_s3_refuses_a_wrong_secret(s3_settings: RuntimeSettings) -> None:
    wrong = s3_settings.model_copy(update={"s3_secret_key": SecretStr("wrong")})
    with pytest.raises(Transient, match=r"AccessDenied|SignatureDoesNotMatch"):
        connect_objects(wrong).put("blobs/aa/aa", b"x")


def test_two_postgres_urls_are_two_empty_databases(postgres_url: str) -> None:
    engine = sqlalchemy.create_engine(postgres_url)
    with engine.begin() as connection:
        assert sqlalchemy.inspect(connection).get_table_names() == []
        connection.execute(sqlalchemy.text("CREATE TABLE mark (id int)"))
    engine.dispose()


def test_a_server_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    command = ("sh", "-c", "echo no such option; exit 3")
    server = Server(name="broken", command=command, folder=tmp_path, ready=lambda: False)
    with pytest.raises(ServerFailed, match=r"ended with 3:\nno such option"), running(server):
        pass


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"deaf\n"
    end(process, within=0.3)
    assert process.returncode == -9
