"""What of one OpenAPI document breaks the callers of another: a document of today against the published one.

Sides differ. A request is broken by what it may no longer say or must say now; an answer is broken by what it no longer
holds or may hold beside. New values of an enumeration and new kinds of a union are additions on both sides: readers of
answers must pass over kinds that they do not know."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Side = Literal["request", "answer"]
Schema = Mapping[str, Any]

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
LOWER_LIMITS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER_LIMITS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
FIXED = ("const", "pattern", "format", "multipleOf", "uniqueItems", "contentMediaType")
"""Any other value than before refuses something that was allowed, or answers something else."""


def breaking_changes(published: Schema, today: Schema) -> list[str]:
    """One line each: where, and what. Empty where today's document only adds."""
    return sorted(set(breaks(published, today)))


def breaks(published: Schema, today: Schema) -> Iterator[str]:
    """The same one by one as they are found, some of them more than once."""
    return _Comparison(published, today).changes()


def version_moved(published: Schema, today: Schema) -> bool:
    """Whether the version says that callers may break: another major one, or while that is 0 another minor one."""
    return _version(today) > _version(published)


def _version(document: Schema) -> tuple[int, ...]:
    major, minor, *_ = map(int, document["info"]["version"].split("."))
    return (major,) if major else (major, minor)


@dataclass
class _Comparison:
    published: Schema
    today: Schema
    compared: set[tuple[str, str, Side]] = field(default_factory=set)
    """Pairs of named schemas that are done, or at work further up."""

    def changes(self) -> Iterator[str]:
        for path, operations in self.published["paths"].items():
            if path not in self.today["paths"]:
                yield f"{path}: removed"
                continue
            for method in METHODS:
                if method in operations:
                    yield from self._operation(
                        f"{method.upper()} {path}", operations[method], self.today["paths"][path].get(method)
                    )

    def _operation(self, where: str, before: Schema, now: Schema | None) -> Iterator[str]:
        if now is None:
            yield f"{where}: removed"
            return
        yield from self._parameters(where, before, now)
        yield from self._body(f"{where} body", before.get("requestBody"), now.get("requestBody"))
        for status, answer in before["responses"].items():
            yield from self._answer(f"{where} {status}", status, answer, now["responses"].get(status))

    def _parameters(self, where: str, before: Schema, now: Schema) -> Iterator[str]:
        known, found = (
            {(each["in"], each["name"].lower()): each for each in operation.get("parameters", ())}
            for operation in (before, now)
        )
        for key in known.keys() | found.keys():
            parameter = f"{where} {key[0]} parameter {key[1]}"
            if key not in found:
                yield f"{parameter}: removed"
            elif found[key].get("required") and not known.get(key, {}).get("required"):
                yield f"{parameter}: required now"
            elif key in known:
                yield from self._schema(parameter, known[key]["schema"], found[key]["schema"], "request")

    def _body(self, where: str, before: Schema | None, now: Schema | None) -> Iterator[str]:
        if now is None:
            if before is not None:
                yield f"{where}: removed"
            return
        if now.get("required") and not (before or {}).get("required"):
            yield f"{where}: required now"
        yield from self._contents(where, (before or {}).get("content", {}), now["content"], "request")

    def _answer(self, where: str, status: str, before: Schema, now: Schema | None) -> Iterator[str]:
        if now is None:
            if status.startswith("2"):
                yield f"{where}: removed"
            return
        for header in before.get("headers", {}):
            if header not in now.get("headers", {}):
                yield f"{where} header {header}: removed"
        yield from self._contents(where, before.get("content", {}), now.get("content", {}), "answer")

    def _contents(self, where: str, before: Schema, now: Schema, side: Side) -> Iterator[str]:
        for media, content in before.items():
            if media not in now:
                yield f"{where} {media}: removed"
            else:
                yield from self._schema(where, content.get("schema", {}), now[media].get("schema", {}), side)

    def _schema(self, where: str, before: Schema, now: Schema, side: Side) -> Iterator[str]:
        names = (before.get("$ref", ""), now.get("$ref", ""), side)
        if names in self.compared:
            return
        if names[0] and names[1]:
            self.compared.add(names)
            where = f"{side} {names[0].rpartition('/')[2]}"
        before, now = _resolved(self.published, before), _resolved(self.today, now)
        members, members_now = _members(before), _members(now)
        if members or members_now:
            yield from self._union(where, members or [before], members_now or [now], side)
            return
        yield from _types(where, before, now, side)
        yield from _limits(where, before, now, side)
        yield from self._object(where, before, now, side)
        yield from self._items(where, before, now, side)

    def _union(self, where: str, before: list[Schema], now: list[Schema], side: Side) -> Iterator[str]:
        found = {_label(self.today, each): each for each in now}
        for member in before:
            label = _label(self.published, member)
            if label in found:
                yield from self._schema(where, member, found[label], side)
            else:
                yield f"{where}: {label} removed"
        known = {_label(self.published, each) for each in before}
        for label in found.keys() - known:
            # A reader that knows no null, or expects a number, cannot pass over it as over an unknown kind.
            if side == "answer" and not label.startswith("kind "):
                yield f"{where}: may be {label} now"

    def _object(self, where: str, before: Schema, now: Schema, side: Side) -> Iterator[str]:
        fields, fields_now = before.get("properties", {}), now.get("properties", {})
        required, required_now = set(before.get("required", ())), set(now.get("required", ()))
        for name, schema in fields.items():
            if name not in fields_now:
                yield f"{where}.{name}: removed"
            else:
                yield from self._schema(f"{where}.{name}", schema, fields_now[name], side)
        for name in required_now - required if side == "request" else ():
            yield f"{where}.{name}: required now"
        for name in (required - required_now) & fields_now.keys() if side == "answer" else ():
            yield f"{where}.{name}: may be missing now"
        yield from self._further(where, before, now, side)

    def _further(self, where: str, before: Schema, now: Schema, side: Side) -> Iterator[str]:
        """additionalProperties: what a map holds, or whether unknown fields are refused."""
        others, others_now = before.get("additionalProperties", True), now.get("additionalProperties", True)
        if isinstance(others, Mapping) and isinstance(others_now, Mapping):
            yield from self._schema(f"{where}[key]", others, others_now, side)
        elif side == "request" and others is not False and others_now is False:
            yield f"{where}: refuses unknown fields now"
        elif side == "request" and others is True and isinstance(others_now, Mapping) and others_now:
            yield f"{where}: refuses some unknown fields now"

    def _items(self, where: str, before: Schema, now: Schema, side: Side) -> Iterator[str]:
        if "items" in before and "items" in now:
            yield from self._schema(f"{where}[]", before["items"], now["items"], side)
        for index, (one, other) in enumerate(
            zip(before.get("prefixItems", ()), now.get("prefixItems", ()), strict=False)
        ):
            yield from self._schema(f"{where}[{index}]", one, other, side)
        if len(before.get("prefixItems", ())) != len(now.get("prefixItems", ())):
            yield f"{where}: another number of items"


def _resolved(document: Schema, schema: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    found = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def _members(schema: Schema) -> list[Schema]:
    return [*schema.get("anyOf", ()), *schema.get("oneOf", ())]


def _label(document: Schema, member: Schema) -> str:
    """How a member of a union is found again: by its kind, its name, or its type."""
    resolved = _resolved(document, member)
    for name, schema in resolved.get("properties", {}).items():
        if "const" in schema:
            return f"kind {name} {schema['const']}"
    if "$ref" in member:
        return str(member["$ref"]).rpartition("/")[2]
    if _members(resolved):
        return "union"
    return "or ".join(sorted(_allowed_types(resolved))) if "type" in resolved else "anything"


def _allowed_types(schema: Schema) -> set[str]:
    found = schema.get("type", [])
    return {found} if isinstance(found, str) else set(found)


def _types(where: str, before: Schema, now: Schema, side: Side) -> Iterator[str]:
    was, is_now = _allowed_types(before), _allowed_types(now)
    # Without a type everything is allowed; an integer is a number.
    gone = set() if not is_now else (was - is_now if was else {"anything"})
    gone -= {"integer"} if "number" in is_now else set()
    for kind in sorted(gone):
        yield f"{where}: {kind} removed"
    if side == "answer" and was:
        fresh = (is_now - was if is_now else {"anything"}) - ({"integer"} if "number" in was else set())
        for kind in sorted(fresh):
            yield f"{where}: may be {kind} now"


def _limits(where: str, before: Schema, now: Schema, side: Side) -> Iterator[str]:
    gone = [value for value in before.get("enum", ()) if value not in now.get("enum", before.get("enum", ()))]
    for value in gone:
        yield f"{where}: value {value!r} removed"
    if "enum" in now and "enum" not in before and before.get("const") not in now["enum"]:
        yield f"{where}: only some values now"
    for name in FIXED:
        # Added to an answer it only says more; taken from a request it only allows more.
        matters = name in (now if side == "request" else before)
        if matters and before.get(name) != now.get(name) and before.get("enum") != [now.get(name)]:
            yield f"{where}: {name} {before.get(name)!r} is {now.get(name)!r} now"
    if side == "request":
        yield from _narrowed(where, before, now, LOWER_LIMITS, lambda was, value: value > was)
        yield from _narrowed(where, before, now, UPPER_LIMITS, lambda was, value: value < was)


def _narrowed(
    where: str, before: Schema, now: Schema, names: tuple[str, ...], narrower: Callable[[float, float], bool]
) -> Iterator[str]:
    for name in names:
        if name in now and (name not in before or narrower(before[name], now[name])):
            yield f"{where}: {name} {before.get(name)} is {now[name]} now"
