"""What a spec may say, open to more: tagged unions and names that a package, or a test, extends by registering.

A union written as `A | B` is closed when its module is read. `Arm = Annotated[ArmSpec, ARMS]` looks its member up when
a document is parsed, so a kind that is registered later is understood everywhere, and one that is not is refused."""

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

ModelT = TypeVar("ModelT", bound=BaseModel)
EntryT = TypeVar("EntryT")

DISCRIMINATOR = "kind"


class Kinds(Generic[ModelT]):
    """The members of an open union by their `kind`. As metadata of `Annotated[Base, KINDS]` it parses and describes."""

    def __init__(self, what: str, base: type[ModelT]) -> None:
        self.what = what
        self._base = base
        self._models: dict[str, type[ModelT]] = {}

    def register(self, *models: type[ModelT]) -> None:
        """Raises ValueError when a kind is taken by another model."""
        for model in models:
            kind = model.model_fields[DISCRIMINATOR].default
            if self._models.setdefault(kind, model) is not model:
                raise ValueError(f"{self.what} {kind!r} is registered as {self._models[kind].__name__}")

    def forget(self, model: type[ModelT]) -> None:
        """For tests, which leave the world as they found it."""
        self._models = {kind: known for kind, known in self._models.items() if known is not model}

    def __iter__(self) -> Iterator[type[ModelT]]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    def parse(self, value: object) -> ModelT:
        if isinstance(value, self._base) and type(value) in self._models.values():
            return value
        if not isinstance(value, Mapping):
            raise PydanticCustomError("model_type", "Input should be an object with a kind")
        kind = value.get(DISCRIMINATOR)
        if kind is None:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": f"'{DISCRIMINATOR}'"})
        model = self._models.get(kind) if isinstance(kind, str) else None
        if model is None:
            known = ", ".join(f"'{name}'" for name in self._models)
            facts = {"discriminator": f"'{DISCRIMINATOR}'", "tag": str(kind), "expected_tags": known}
            raise PydanticKnownError("union_tag_invalid", facts)
        return model.model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        choices = {kind: model.__pydantic_core_schema__ for kind, model in self._models.items()}
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
        """Raises KeyError that says what is registered."""
        if name not in self._entries:
            raise KeyError(f"no {self.what} {name!r} is registered; there are {', '.join(self._entries)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _known(self, name: str) -> str:
        if name not in self._entries:
            known = ", ".join(f"'{entry}'" for entry in self._entries)
            raise PydanticKnownError("literal_error", {"expected": known})
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._known, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "enum": list(self._entries)}
