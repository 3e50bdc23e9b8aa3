"""What a spec may say, open to more: tagged unions and names that a package, or a test, extends by registering.

A union written as `A | B` is closed when its module is read. `Arm = Annotated[ArmSpec, ARMS]` looks its member up when
a document is parsed, so a kind that is registered later is understood everywhere, and one that is not is refused."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from touchstone_contracts.problems import Invalid, in_words
from touchstone_contracts.suggestions import did_you_mean

ModelT = TypeVar("ModelT", bound=BaseModel)
EntryT = TypeVar("EntryT")

DISCRIMINATOR = "kind"


def kind_of(model: type[BaseModel]) -> str:
    """Raises ValueError where a model has no kind of its own, as the base of a union."""
    field = model.model_fields.get(DISCRIMINATOR)
    if field is None or not isinstance(field.default, str):
        raise ValueError(f'{model.__name__} needs a field `kind: Literal["..."] = "..."`')
    return field.default


class Kinds(Generic[ModelT]):
    """The members of an open union by their `kind`. As metadata of `Annotated[Base, KINDS]` it parses and describes.

    `within`: a union that this one is a part of, with which it shares its members that are a `base`. A member of the
    whole may hold members of the part; one that held members of its own union could not be described.
    `reserved`: kinds that no member may have."""

    def __init__(
        self,
        what: str,
        base: type[ModelT],
        *,
        within: "Kinds[Any] | None" = None,
        reserved: Collection[str] = (),
    ) -> None:
        self.what = what
        self._base, self._reserved = base, frozenset(reserved)
        self._shared: dict[str, type[BaseModel]] = {} if within is None else within._shared

    def register(self, *models: type[ModelT]) -> None:
        """Raises ValueError when a kind is taken by another model."""
        for model in models:
            kind = kind_of(model)
            if kind in self._reserved:
                raise ValueError(f"{self.what} {kind!r} is a name that no {self.what} may have")
            if self._shared.setdefault(kind, model) is not model:
                raise ValueError(f"{self.what} {kind!r} is registered as {self._shared[kind].__name__}")

    def forget(self, model: type[ModelT]) -> None:
        """For tests, which leave the world as they found it."""
        if self._shared.get(kind_of(model)) is model:
            del self._shared[kind_of(model)]

    @property
    def _models(self) -> dict[str, type[ModelT]]:
        return {kind: model for kind, model in self._shared.items() if issubclass(model, self._base)}

    def __iter__(self) -> Iterator[type[ModelT]]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    def __contains__(self, kind: object) -> bool:
        return kind in self._models

    def __getitem__(self, kind: str) -> type[ModelT]:
        """Raises Invalid."""
        return _found(self._models, self.what, kind)

    def parse(self, value: object) -> ModelT:
        models = self._models
        if isinstance(value, self._base) and type(value) in models.values():
            return value
        if not isinstance(value, Mapping | BaseModel):
            raise PydanticKnownError("model_attributes_type")
        kind = value.get(DISCRIMINATOR) if isinstance(value, Mapping) else getattr(value, DISCRIMINATOR, None)
        if kind is None:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": f"'{DISCRIMINATOR}'"})
        model = models.get(kind) if isinstance(kind, str) else None
        if model is None:
            known = ", ".join(f"'{name}'" for name in models)
            facts = {"discriminator": f"'{DISCRIMINATOR}'", "tag": str(kind), "expected_tags": known}
            raise PydanticKnownError("union_tag_invalid", facts)
        return model.model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        choices = {kind: model.__pydantic_core_schema__ for kind, model in self._models.items()}
        if not choices:
            return {"not": {}}
        return handler(core_schema.tagged_union_schema(choices, discriminator=DISCRIMINATOR))


class Registry(Generic[EntryT]):
    """Entries by name; as metadata of `Annotated[str, REGISTRY]` it refuses names that are not registered."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[str, EntryT] = {}

    def register(self, name: str, entry: EntryT) -> None:
        """Raises ValueError when the name is taken by another entry."""
        if self._entries.setdefault(name, entry) is not entry:
            raise ValueError(f"{self.what} {name!r} is registered twice")

    def forget(self, name: str) -> None:
        """For tests, which leave the world as they found it."""
        self._entries.pop(name, None)

    def __getitem__(self, name: str) -> EntryT:
        """Raises Invalid."""
        return _found(self._entries, self.what, name)

    def items(self) -> Iterator[tuple[str, EntryT]]:
        return iter(self._entries.items())

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _known(self, name: object) -> str:
        if not isinstance(name, str) or name not in self._entries:
            known = in_words([f"'{entry}'" for entry in self._entries], "or")
            raise PydanticKnownError("literal_error", {"expected": known})
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._known)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "enum": list(self._entries)}


class Implementations(Generic[EntryT]):
    """What carries out the members of a union, in a service: an entry for each kind, mostly a function."""

    def __init__(self, what: str) -> None:
        self._by_kind = Registry[EntryT](what)

    def register(self, model: type[BaseModel], entry: EntryT) -> None:
        """Raises ValueError when the kind has another entry."""
        self._by_kind.register(kind_of(model), entry)

    def forget(self, model: type[BaseModel]) -> None:
        """For tests, which leave the world as they found it."""
        self._by_kind.forget(kind_of(model))

    def of(self, spec: BaseModel) -> EntryT:
        """Raises Invalid where the kind of `spec` is not registered: another kind's entry never stands in for it."""
        return self._by_kind[getattr(spec, DISCRIMINATOR)]

    def __iter__(self) -> Iterator[str]:
        """Kinds."""
        return iter(self._by_kind)

    def __len__(self) -> int:
        return len(self._by_kind)


def _found(entries: Mapping[str, EntryT], what: str, name: str) -> EntryT:
    """Raises Invalid with the code `unknown_<what>`."""
    if name not in entries:
        known = in_words(list(entries), "and")
        meant = did_you_mean(name, entries)
        detail = (
            f"no {what} {name!r} is registered here, only {known}{f'; {meant}' if meant else ''}: use one of these, "
            "or a release that has it"
        )
        raise Invalid(detail, code=f"unknown_{what.replace(' ', '_')}")
    return entries[name]
