"""Content-addressed artifacts: what is named is what is got, and a doubt means the work is done again."""

import numpy as np
import pyarrow as pa
import pytest
from touchstone_contracts.identity import sha256
from touchstone_contracts.keys import blob_key, manifest_key
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.steps import CURATE_IMAGES, WRITE_PROMPTS, ImagesFound, PromptsWritten
from touchstone_contracts.values import Blob
from touchstone_runtime.artifacts import Artifacts, CorruptObject, blobs_in
from touchstone_runtime.objects import MemoryObjects, MissingObject

STEP = sha256(b"a step")


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def artifacts(objects: MemoryObjects) -> Artifacts:
    return Artifacts(objects)


def finished(artifacts: Artifacts, *blobs: Blob) -> StepManifest:
    manifest = StepManifest(
        step_id=STEP,
        kind="write_prompts",
        version=1,
        result=PromptsWritten(prompts=blobs[0], count=2).model_dump(mode="json"),
        blobs=blobs,
        seconds=1.0,
        cpu_seconds=1.0,
        worker="w",
    )
    artifacts.write_manifest(manifest)
    return manifest


def test_a_blob_is_named_by_its_bytes(artifacts: Artifacts) -> None:
    blob = artifacts.put_blob(b"bytes")
    assert blob == Blob(digest=sha256(b"bytes"), size=5)
    assert artifacts.get_blob(blob) == b"bytes"
    assert artifacts.get_image(sha256(b"yte"), blob.digest, 1, 3) == b"yte"
    assert artifacts.put_blob(b"bytes") == blob


def test_arrays_and_tables_come_back_equal_and_equal_ones_share_a_blob(artifacts: Artifacts) -> None:
    array = np.arange(12, dtype=np.float16).reshape(3, 4)
    table = pa.table({"key": ["a", "b"], "score": [0.5, float("nan")]})
    assert np.array_equal(artifacts.get_array(artifacts.put_array(array)), array)
    assert artifacts.put_array(array) == artifacts.put_array(array.copy())
    assert artifacts.get_table(artifacts.put_table(table)).schema == table.schema
    assert artifacts.put_table(table) == artifacts.put_table(table)


def test_an_array_of_objects_is_never_pickled(artifacts: Artifacts) -> None:
    with pytest.raises(ValueError, match="pickle"):
        artifacts.put_array(np.array([{"a": 1}], dtype=object))


def test_other_bytes_under_a_name_are_removed_and_can_be_written_again(
    artifacts: Artifacts, objects: MemoryObjects
) -> None:
    blob = artifacts.put_blob(b"right")
    objects.put(blob_key(blob.digest), b"wrong")
    with pytest.raises(CorruptObject):
        artifacts.get_blob(blob)
    with pytest.raises(MissingObject, match="no object"):
        artifacts.get_blob(blob)
    artifacts.put_blob(b"right")
    assert artifacts.get_blob(blob) == b"right"


def test_another_image_of_the_same_length_inside_a_shard_is_never_read(
    artifacts: Artifacts, objects: MemoryObjects
) -> None:
    shard = artifacts.put_blob(b"one two six")
    objects.put(blob_key(shard.digest), b"one ten six")
    assert artifacts.get_image(sha256(b"one"), shard.digest, 0, 3) == b"one"
    with pytest.raises(CorruptObject):
        artifacts.get_image(sha256(b"two"), shard.digest, 4, 3)
    assert objects.size(blob_key(shard.digest)) is None


def test_bytes_that_were_spoilt_on_their_way_once_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = MemoryObjects()
    artifacts, answers = Artifacts(objects), [b"wrong", b"right"]
    blob = artifacts.put_blob(b"right")
    monkeypatch.setattr(objects, "get", lambda key: answers.pop(0))
    assert artifacts.get_blob(blob) == b"right"
    assert (answers, objects.size(blob_key(blob.digest))) == ([], 5)


def test_a_damaged_fact_is_noticed(artifacts: Artifacts, objects: MemoryObjects) -> None:
    digest = sha256(b"[1,2]")
    artifacts.put_facts({digest: b"[1,2]"})
    objects.put(blob_key(digest), b"[1,3]")
    with pytest.raises(CorruptObject):
        artifacts.fact(digest)
    artifacts.put_facts({digest: b"[1,2]"})
    assert artifacts.fact(digest) == [1, 2]


def test_a_finished_step_is_verified_and_its_result_read(artifacts: Artifacts) -> None:
    manifest = finished(artifacts, artifacts.put_blob(b"prompts"))
    assert artifacts.verified(STEP) == manifest
    assert artifacts.result(WRITE_PROMPTS, STEP).count == 2


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_blob_means_the_step_is_not_done(artifacts: Artifacts, objects: MemoryObjects, damage: str) -> None:
    blob = artifacts.put_blob(b"prompts")
    finished(artifacts, blob)
    objects.remove(blob_key(blob.digest))
    if damage != "missing":
        objects.put(blob_key(blob.digest), {"truncated": b"pro", "altered": b"PROMPTS"}[damage])
    assert artifacts.verified(STEP) is None


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_what_is_gone_is_noticed_without_reading_a_blob(
    objects: MemoryObjects, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = Artifacts(objects)
    blob = artifacts.put_blob(b"prompts")
    manifest = finished(artifacts, blob)
    read: list[str] = []
    get = objects.get

    def noted(key: str) -> bytes:
        read.append(key)
        return get(key)

    monkeypatch.setattr(objects, "get", noted)
    assert artifacts.present(STEP) == manifest
    objects.remove(blob_key(blob.digest))
    if damage == "truncated":
        objects.put(blob_key(blob.digest), b"pro")
    assert artifacts.present(STEP) is None
    assert read == [manifest_key(STEP)] * 2


@pytest.mark.parametrize(("old", "new"), [(b'"count": 2', b'"count": 3'), (b'"seconds": 1.0', b'"seconds": 9.0')])
def test_a_manifest_with_another_number_in_it_counts_as_none(
    artifacts: Artifacts, objects: MemoryObjects, old: bytes, new: bytes
) -> None:
    finished(artifacts, artifacts.put_blob(b"prompts"))
    stored = objects.get(manifest_key(STEP))
    assert stored.count(old) == 1
    objects.put(manifest_key(STEP), stored.replace(old, new))
    assert artifacts.manifest(STEP) is None


def test_the_manifest_of_another_step_counts_as_none(artifacts: Artifacts, objects: MemoryObjects) -> None:
    finished(artifacts, artifacts.put_blob(b"prompts"))
    other = sha256(b"another step")
    objects.put(manifest_key(other), objects.get(manifest_key(STEP)))
    assert artifacts.manifest(STEP) is not None
    assert artifacts.manifest(other) is None


def test_a_manifest_from_before_there_were_checksums_is_read(artifacts: Artifacts, objects: MemoryObjects) -> None:
    manifest = finished(artifacts, artifacts.put_blob(b"prompts"))
    objects.put(manifest_key(STEP), manifest.model_dump_json().encode())
    assert artifacts.manifest(STEP) == manifest


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"step_id": "x"}', b"\xff\xfe"])
def test_an_unreadable_manifest_counts_as_none(artifacts: Artifacts, objects: MemoryObjects, data: bytes) -> None:
    objects.put(manifest_key(STEP), data)
    assert artifacts.manifest(STEP) is None
    with pytest.raises(MissingObject):
        artifacts.result(WRITE_PROMPTS, STEP)


def test_a_step_without_blobs_can_be_verified(artifacts: Artifacts) -> None:
    manifest = finished(artifacts, artifacts.put_blob(b"x")).model_copy(update={"blobs": (), "step_id": sha256(b"2")})
    artifacts.write_manifest(manifest)
    assert artifacts.verified(manifest.step_id) == manifest


def test_every_blob_of_a_result_is_listed_once_wherever_it_stands() -> None:
    first, second = (Blob(digest=sha256(name), size=1) for name in (b"1", b"2"))
    result = ImagesFound.model_validate(
        {"images": {"manifest": first, "shards": (second, first), "count": 2}, "requested": 2}
    )
    assert list(blobs_in(result)) == [first, second]
    assert list(blobs_in({"nested": [{"deep": (second,)}], "other": 3})) == [second]
    assert CURATE_IMAGES.result.model_fields.keys() >= {"images", "counts"}
