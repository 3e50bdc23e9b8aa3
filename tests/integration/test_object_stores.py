"""One conformance suite for every object store: the fake in memory and a real S3 server."""

import secrets
from datetime import UTC, datetime, timedelta

import pytest
from minio import Minio
from pydantic import SecretStr
from touchstone_contracts.problems import Transient
from touchstone_runtime.objects import MemoryObjects, MissingObject, ObjectStore, S3Objects, connect_objects
from touchstone_runtime.settings import RuntimeSettings


@pytest.fixture(params=["memory", "s3"])
def objects(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "memory":
        return MemoryObjects()
    store: S3Objects = request.getfixturevalue("s3_objects")
    return store


@pytest.fixture
def key() -> str:
    """A key nobody used before."""
    return f"blobs/{secrets.token_hex(16)}"


def test_what_is_put_is_got(objects: ObjectStore, key: str) -> None:
    objects.put(key, b"some bytes")
    assert objects.get(key) == b"some bytes"
    assert objects.size(key) == 10


def test_an_empty_object_is_an_object(objects: ObjectStore, key: str) -> None:
    objects.put(key, b"")
    assert objects.get(key) == b""
    assert objects.size(key) == 0


def test_large_objects_come_back_whole(objects: ObjectStore, key: str) -> None:
    data = bytes(range(256)) * 4096 * 12  # 12 MiB: above the client's part size
    objects.put(key, data)
    assert objects.size(key) == len(data)
    assert objects.get(key) == data


def test_a_range_is_read_alone(objects: ObjectStore, key: str) -> None:
    objects.put(key, bytes(range(100)))
    assert objects.get_range(key, 10, 5) == bytes(range(10, 15))
    assert objects.get_range(key, 0, 1) == b"\x00"
    assert objects.get_range(key, 90, 10) == bytes(range(90, 100))


def test_a_missing_object_has_no_size_and_cannot_be_got(objects: ObjectStore, key: str) -> None:
    assert objects.size(key) is None
    with pytest.raises(MissingObject):
        objects.get(key)
    with pytest.raises(MissingObject):
        objects.get_range(key, 0, 10)


@pytest.mark.parametrize("length", [5, 6 * 2**20])
def test_other_bytes_of_the_same_length_are_replaced(objects: ObjectStore, key: str, length: int) -> None:
    """Keys are digests: whoever writes has the right bytes, and what lies there was damaged."""
    objects.put(key, b"w" * length)
    objects.put(key, b"r" * length)
    assert objects.get(key) == b"r" * length


@pytest.mark.parametrize("length", [0, 5, 6 * 2**20])
def test_bytes_that_lie_there_already_are_not_sent_again(
    s3_objects: S3Objects, key: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_objects.put(key, b"x" * length)
    sent: list[str] = []
    monkeypatch.setattr(Minio, "put_object", lambda self, bucket, name, *rest, **named: sent.append(name))
    s3_objects.put(key, b"x" * length)
    assert sent == []
    s3_objects.put(key, b"y" * length + b"y")
    assert sent == [key]


def test_objects_are_listed_by_what_their_keys_begin_with(objects: ObjectStore, key: str) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    for name, data in (("b", b"22"), ("a", b"1"), ("c/d", b"")):
        objects.put(f"{key}/{name}", data)
    found = list(objects.listed(f"{key}/"))
    assert [(each.key, each.size) for each in found] == [(f"{key}/a", 1), (f"{key}/b", 2), (f"{key}/c/d", 0)]
    assert all(before < each.modified < datetime.now(UTC) + timedelta(minutes=1) for each in found)
    assert list(objects.listed(f"{key}/nothing")) == []


def test_what_is_removed_is_missing_and_removing_it_again_is_harmless(objects: ObjectStore, key: str) -> None:
    objects.put(key, b"bytes")
    objects.remove(key)
    objects.remove(key)
    assert objects.size(key) is None
    with pytest.raises(MissingObject):
        objects.get(key)


def test_a_truncated_object_is_replaced(objects: ObjectStore, key: str) -> None:
    objects.put(key, b"half")
    objects.put(key, b"half and more")
    assert objects.get(key) == b"half and more"


@pytest.mark.parametrize("name", ["with space", "umlaut-ü", "plus+equals=", "deep/er/still"])
def test_keys_are_taken_literally(objects: ObjectStore, key: str, name: str) -> None:
    objects.put(f"{key}/{name}", name.encode())
    assert objects.get(f"{key}/{name}") == name.encode()


def test_creating_a_bucket_twice_is_harmless(s3_objects: S3Objects, key: str) -> None:
    s3_objects.create_bucket()
    s3_objects.put(key, b"kept")
    s3_objects.create_bucket()
    assert s3_objects.get(key) == b"kept"


def test_a_wrong_secret_is_refused_as_a_transient_failure(s3_settings: RuntimeSettings, key: str) -> None:
    intruder = connect_objects(s3_settings.model_copy(update={"s3_secret_key": SecretStr("guessed-wrongly")}))
    with pytest.raises(Transient) as refused:
        intruder.put(key, b"bytes")
    assert refused.value.code == "object_store"
    assert "guessed-wrongly" not in str(refused.value)


def test_a_dead_server_is_a_transient_failure(s3_settings: RuntimeSettings, key: str) -> None:
    # Port 9 (discard) on loopback: refused at once.
    nowhere = connect_objects(s3_settings.model_copy(update={"s3_endpoint": "127.0.0.1:9"}))
    with pytest.raises(Transient) as refused:
        nowhere.get(key)
    assert refused.value.code == "object_store"
    assert not isinstance(refused.value, MissingObject)
