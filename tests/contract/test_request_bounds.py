"""Work follows what a request says, so whatever a request may say has an end.

The test walks the published description: every model of every body, with the members of every union."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from support.memory_services import memory_services
from touchstone_api.main import create_app

LONGEST_PATTERN_MATCH = 10_000
LOWER, UPPER = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
BOUNDED_FORMATS = {"date-time", "uuid", "binary"}
"""`binary`: an upload, which is counted while it is streamed."""
Schema = dict[str, Any]


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Schema:
    return create_app(memory_services(tmp_path_factory.mktemp("bounds"))).openapi()


def bodies(description: Schema) -> dict[str, Schema]:
    """Operation -> schema of its body."""
    return {
        operation["operationId"]: content["schema"]
        for path in description["paths"].values()
        for operation in path.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    }


class Walk:
    """Over a schema and all it refers to, each model once."""

    def __init__(self, models: dict[str, Schema]) -> None:
        self.models, self.seen, self.looked_at = models, set[str](), Counter[str]()
        self.free: list[str] = []
        """Paths at which any JSON may stand."""

    def unbounded(self, schema: Schema, path: str) -> Iterator[str]:
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[-1]
            if name not in self.seen:
                self.seen.add(name)
                yield from self.unbounded(self.models[name], name)
            return
        members = [part for union in ("anyOf", "oneOf", "allOf") for part in schema.get(union, [])]
        for member in members:
            yield from self.unbounded(member, path)
        if members or {"enum", "const", "not"} & schema.keys():
            return  # nothing may stand where `not` does: a union that has no member yet
        kind = schema.get("type")
        self.looked_at[str(kind)] += 1
        if kind is None:
            self.free.append(path)
        elif kind == "string" and not has_an_end(schema):
            yield f"{path}: a string without an end"
        elif kind in ("integer", "number") and not (LOWER & schema.keys() and UPPER & schema.keys()):
            yield f"{path}: a number without bounds"
        elif kind == "array":
            yield from self._array(schema, path)
        elif kind == "object":
            yield from self._object(schema, path)

    def _array(self, schema: Schema, path: str) -> Iterator[str]:
        if "maxItems" not in schema:
            yield f"{path}: an array without an end"
        for item in [*schema.get("prefixItems", []), *([schema["items"]] if "items" in schema else [])]:
            yield from self.unbounded(item, f"{path}[]")

    def _object(self, schema: Schema, path: str) -> Iterator[str]:
        for name, field in schema.get("properties", {}).items():
            yield from self.unbounded(field, f"{path}.{name}")
        keys = [{"pattern": pattern} for pattern in schema.get("patternProperties", {})]
        values = [*schema.get("patternProperties", {}).values()]
        others = schema.get("additionalProperties", not (keys or "properties" in schema))
        if others is not False:
            keys.append(schema.get("propertyNames", {}))
            values.append(others if isinstance(others, dict) else {})
        if keys and ("maxProperties" not in schema or not all(map(has_an_end, keys))):
            yield f"{path}: an object without an end"
        for value in values:
            yield from self.unbounded(value, f"{path}{{}}")


def has_an_end(schema: Schema) -> bool:
    if "maxLength" in schema or schema.get("format") in BOUNDED_FORMATS:
        return True
    pattern = schema.get("pattern", "")
    anchored = pattern.startswith("^") and pattern.endswith("$")
    return anchored and re._parser.parse(pattern).getwidth()[1] <= LONGEST_PATTERN_MATCH  # type: ignore[attr-defined]


def test_everything_that_a_body_may_say_has_an_end(description: Schema) -> None:
    walk = Walk(description["components"]["schemas"])
    found = bodies(description)
    unbounded = [line for name, schema in found.items() for line in walk.unbounded(schema, name)]
    assert unbounded == []
    print(f"{len(found)} bodies, {len(walk.seen)} models: {dict(walk.looked_at)}")
    assert len(found) >= 9
    assert len(walk.seen) >= 55
    assert walk.looked_at["string"] >= 80
    assert walk.looked_at["array"] >= 25
    assert walk.looked_at["number"] + walk.looked_at["integer"] >= 60
    # What a clone changes may be anything; the spec that it leads to is checked, and the body's depth and size are.
    assert walk.free == ["clone_experiment{}"]


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ({"type": "string"}, "x: a string without an end"),
        ({"type": "string", "pattern": "^a+$"}, "x: a string without an end"),
        ({"type": "string", "pattern": "a"}, "x: a string without an end"),
        ({"type": "integer", "minimum": 0}, "x: a number without bounds"),
        ({"type": "array", "items": {"type": "boolean"}}, "x: an array without an end"),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, "x: an object without an end"),
        ({"type": "object", "maxProperties": 3}, "x: an object without an end"),
        ({"anyOf": [{"type": "null"}, {"type": "number"}]}, "x: a number without bounds"),
        ({"type": "array", "maxItems": 2, "items": {"type": "string"}}, "x[]: a string without an end"),
        ({"$ref": "#/components/schemas/Model"}, "Model.name: a string without an end"),
    ],
)
def test_the_walk_finds_what_has_no_end(schema: Schema, line: str) -> None:
    models = {"Model": {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False}}
    assert list(Walk(models).unbounded(schema, "x")) == [line]
