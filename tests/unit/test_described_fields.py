"""Every field of the API says what it means, in words of its own or in those of its name."""

from typing import Any

import pytest
from support.memory_services import api_client, memory_services
from touchstone_api.field_words import FIELD_WORDS, describe_fields


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    services = memory_services(tmp_path_factory.mktemp("api"))
    with api_client(services) as client:
        found: dict[str, Any] = client.get("/openapi.json").json()["components"]["schemas"]
    services.store.close()
    return found


def test_every_field_is_described(schemas: dict[str, Any]) -> None:
    fields = [
        (f"{name}.{field}", found)
        for name, schema in schemas.items()
        for field, found in schema.get("properties", {}).items()
    ]
    silent = [name for name, found in fields if not found.get("description", "").strip()]
    assert silent == []
    assert len(fields) > 950


def test_the_words_of_a_model_are_its_own(schemas: dict[str, Any]) -> None:
    assert schemas["PlanBytes"]["properties"]["own"]["description"].startswith("Of `total`: what nobody else needs")
    assert schemas["Power"]["properties"]["summary"]["description"] == FIELD_WORDS["Power.summary"]
    assert schemas["Results"]["properties"]["summary"]["description"] == FIELD_WORDS["summary"]


def test_every_entry_describes_a_field(schemas: dict[str, Any]) -> None:
    used = {found["description"] for schema in schemas.values() for found in schema.get("properties", {}).values()}
    assert [name for name, words in FIELD_WORDS.items() if words not in used] == []


def test_words_are_sentences() -> None:
    bad = [name for name, words in FIELD_WORDS.items() if not words[0].isupper() and words[0] not in "`a"]
    bad += [name for name, words in FIELD_WORDS.items() if not words.endswith(".")]
    assert bad == []
    assert len(FIELD_WORDS) > 250


def test_what_is_described_stays_and_unknown_names_stay_silent() -> None:
    schemas: dict[str, Any] = {
        "X": {"properties": {"target": {"description": "mine"}, "strange": {}, "arm": {}}},
        "Y": {},
    }
    describe_fields(schemas)
    assert schemas["X"]["properties"] == {
        "target": {"description": "mine"},
        "strange": {},
        "arm": {"description": FIELD_WORDS["arm"]},
    }
