"""The form of a new experiment, from the JSON schema of the spec: which fields it has, and what each may hold.

A field is a string, a number, a flag, a list of numbers, a choice, several choices, or a choice of a kind; fields of an
object inside are fields of the form too. What is none of these is edited in the text of the spec, and the form says
which those are. Arms and recipes of every registered kind have a part each, so that a new kind needs nothing here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from touchstone_contracts.experiment import ExperimentSpec

from touchstone_api.field_words import describe_fields

Schema = Mapping[str, Any]
Control = Literal["text", "number", "numbers", "flag", "choice", "several", "kind", "arm"]

REGISTERED = {
    "upstream": "upstreams",
    "encoder": "encoders",
    "judge_encoder": "encoders",
    "score_encoder": "encoders",
    "copy_encoder": "encoders",
    "generator": "generators",
    "targets": "targets",
    "datasets": "datasets",
}
"""Field -> kind of entry whose registered names it chooses from."""
ARM_NAMES = frozenset({"a", "b", "parent"})
"""Fields that name another arm of the experiment."""
ALWAYS_SHOWN = frozenset({"seeds", "learning_rates", "epochs", "batch_size", "metric", "delta", "strategy"})
"""Beside required fields; the others are shown on demand."""
PARTS = frozenset({"arms", "recipe", "comparison"})
"""Fields of the spec that are a part of the form each."""
Registered = Mapping[str, tuple[str, ...]]
"""Names by kind of entry, in the plural."""


@dataclass(frozen=True)
class FormField:
    path: str
    """JSON pointer below the part that it belongs to."""
    label: str
    description: str
    control: Control
    required: bool = False
    choices: tuple[str, ...] = ()
    default: object = None

    @property
    def id(self) -> str:
        return self.path[1:].replace("/", "-")

    @property
    def default_words(self) -> str:
        """What holds where nothing is chosen, as the field would show it; empty for nothing."""
        match self.default:
            case None:
                return ""
            case bool():
                return f"{self.default} (default)".lower()
            case Mapping():
                return f"{self.default.get('kind', '')} (default)"
            case list():
                return ", ".join(map(str, self.default))
            case _:
                return f"{self.default} (default)"


@dataclass(frozen=True)
class FormPart:
    """Fields of one object of the spec. `shown`: at once; `further`: on demand."""

    kind: str
    description: str
    shown: tuple[FormField, ...]
    further: tuple[FormField, ...]
    as_text: tuple[str, ...]
    """Fields that can be edited in the text alone."""


@dataclass(frozen=True)
class SpecForm:
    experiment: FormPart
    comparison: FormPart
    arms: tuple[FormPart, ...]
    recipes: tuple[FormPart, ...]


def spec_form(registered: Registered) -> SpecForm:
    schema = _schema()
    properties = schema["properties"]
    [comparison] = [each for each in properties["comparison"]["anyOf"] if "$ref" in each]
    return SpecForm(
        experiment=_part("experiment", schema, registered, without=PARTS),
        comparison=_optional(_part("comparison", _resolved(comparison), registered)),
        arms=_kinds(properties["arms"]["items"], registered),
        recipes=_kinds(properties["recipe"], registered),
    )


@cache
def _schema() -> Schema:
    schema = ExperimentSpec.model_json_schema()
    describe_fields({"ExperimentSpec": schema, **schema["$defs"]})
    return schema


def _resolved(schema: Schema) -> Schema:
    """What a reference stands for; of a value or null, the value."""
    choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if len(choices) == 1:
        return {**schema, **_resolved(choices[0])}
    if "$ref" in schema:
        return {**_schema()["$defs"][schema["$ref"].rpartition("/")[2]], **schema}
    return schema


def _kinds(union: Schema, registered: Registered) -> tuple[FormPart, ...]:
    members = union["discriminator"]["mapping"]
    return tuple(_part(kind, _resolved({"$ref": reference}), registered) for kind, reference in members.items())


def _part(kind: str, schema: Schema, registered: Registered, without: frozenset[str] = frozenset()) -> FormPart:
    fields: list[FormField] = []
    as_text: list[str] = []
    for name, found in schema["properties"].items():
        if name in without or name == "kind":
            continue
        made = tuple(_fields(f"/{name}", name, found, name in schema.get("required", ()), registered))
        fields += made
        as_text += [] if made else [name]
    shown = tuple(field for field in fields if field.required or field.path[1:] in ALWAYS_SHOWN | {"name"})
    return FormPart(
        kind=kind,
        description=_first_paragraph(schema.get("description", "")),
        shown=shown,
        further=tuple(field for field in fields if field not in shown),
        as_text=tuple(as_text),
    )


def _optional(part: FormPart) -> FormPart:
    """Of an object that may be left out as a whole: then nothing of it is required."""
    return replace(part, shown=tuple(replace(field, required=False) for field in part.shown))


def _fields(path: str, name: str, schema: Schema, required: bool, registered: Registered) -> Iterator[FormField]:
    """Those of one property: none where the form has nothing to edit it with, or where it is an object or null."""
    found = _resolved(schema)
    if "properties" in found:
        if "anyOf" not in schema:
            for inner, property_ in found["properties"].items():
                if inner != "kind" and "properties" not in _resolved(property_):
                    yield from _fields(f"{path}/{inner}", inner, property_, False, registered)
        return
    control, choices = _control(name, found, registered)
    if control is not None:
        label = path[1:].replace("/", ", ").replace("_", " ").capitalize()
        about = "" if name == "name" else schema.get("description", found.get("description", ""))
        yield FormField(path, label, " ".join(about.split()), control, required, choices, schema.get("default"))


def _control(name: str, schema: Schema, registered: Registered) -> tuple[Control | None, tuple[str, ...]]:
    """With the choices that it offers."""
    of, items = schema.get("type"), schema.get("items", {})
    if "discriminator" in schema:
        return "kind", tuple(schema["discriminator"]["mapping"])
    if name in REGISTERED:
        return "several" if of == "array" else "choice", registered[REGISTERED[name]]
    if "enum" in schema:
        return "choice", tuple(schema["enum"])
    if of == "array":
        if "enum" in items:
            return "several", tuple(items["enum"])
        return ("numbers" if items.get("type") in ("integer", "number") else None), ()
    if name in ARM_NAMES:
        return "arm", ()
    simple: Mapping[object, Control] = {"string": "text", "integer": "number", "number": "number", "boolean": "flag"}
    return simple.get(of), ()


def _first_paragraph(description: str) -> str:
    return " ".join(description.partition("\n\n")[0].split())


def with_registered_names(document: Mapping[str, Any], registered: Registered) -> dict[str, Any]:
    """An example in which the first registered name replaces every name that is not registered."""

    def known(name: str, kind: str) -> str:
        names = registered[kind]
        return name if name in names or not names else names[0]

    arms = [
        arm | {"generator": known(arm["generator"], "generators")} if "generator" in arm else arm
        for arm in document["arms"]
    ]
    return {
        **document,
        "upstream": known(document["upstream"], "upstreams"),
        "encoder": known(document["encoder"], "encoders"),
        "targets": [known(target, "targets") for target in document["targets"]],
        "arms": arms,
    }
