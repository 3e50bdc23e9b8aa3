"""Open unions and names: what is registered is understood and described everywhere, anything else is refused."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError
from touchstone_contracts.problems import Invalid, in_words
from touchstone_contracts.registry import Implementations, Kinds, Registry
from touchstone_contracts.values import Strict


class Animal(Strict):
    kind: str


class Cat(Animal):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Pet(Animal):
    name: str = ""


class Dog(Pet):
    kind: Literal["dog"] = "dog"


class Snake(Animal):
    kind: Literal["snake"] = "snake"


class OtherCat(Animal):
    kind: Literal["cat"] = "cat"


ANIMALS = Kinds[Animal]("animal", Animal, reserved={"unicorn"})
PETS = Kinds[Pet]("pet", Pet, within=ANIMALS)
COLOURS = Registry[int]("colour")


class Crowd(Animal):
    kind: Literal["crowd"] = "crowd"
    of: tuple[Annotated[Pet, PETS], ...] = ()


class Zoo(Strict):
    first: Annotated[Animal, ANIMALS] = Cat()
    pet: Annotated[Pet, PETS] | None = None
    colours: tuple[Annotated[str, COLOURS], ...] = ()


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    ANIMALS.register(Cat, Crowd)
    PETS.register(Dog)
    COLOURS.register("red", 1)
    COLOURS.register("blue", 2)
    yield
    for animal in (Cat, Crowd, Dog, Snake):
        ANIMALS.forget(animal)
    for colour in ("red", "blue", "green"):
        COLOURS.forget(colour)


def errors(document: Any) -> list[tuple[str, str, str]]:
    """Place, type and text."""
    with pytest.raises(ValidationError) as refused:
        Zoo.model_validate(document)
    return [
        ("/".join(map(str, error["loc"])), error["type"], error["msg"])
        for error in refused.value.errors(include_url=False)
    ]


def test_a_member_is_parsed_by_its_kind_and_written_with_all_its_fields() -> None:
    zoo = Zoo.model_validate({"first": {"kind": "cat", "lives": 3}, "pet": {"kind": "dog", "name": "Rex"}})
    assert (zoo.first, zoo.pet) == (Cat(lives=3), Dog(name="Rex"))
    assert zoo.model_dump(mode="json")["first"] == {"kind": "cat", "lives": 3}
    assert Zoo.model_validate_json(zoo.model_dump_json()) == zoo


def test_a_kind_that_is_registered_after_the_model_was_made_is_understood() -> None:
    assert errors({"first": {"kind": "snake"}})[0][1] == "union_tag_invalid"
    ANIMALS.register(Snake)
    assert Zoo.model_validate({"first": {"kind": "snake"}}).first == Snake()
    ANIMALS.forget(Snake)
    assert errors({"first": Snake()})[0][1] == "union_tag_invalid"


@pytest.mark.parametrize(
    ("document", "kind", "text"),
    [
        ({"kind": "cow"}, "union_tag_invalid", "Input tag 'cow' found using 'kind' does not match any of the expected"),
        ({"kind": 4}, "union_tag_invalid", "Input tag '4' found"),
        ({}, "union_tag_not_found", "Unable to extract tag using discriminator 'kind'"),
        (3, "model_attributes_type", "Input should be a valid dictionary or object"),
        (None, "model_attributes_type", "Input should be a valid dictionary or object"),
    ],
)
def test_what_names_no_registered_kind_is_refused_as_pydantic_refuses_it(document: Any, kind: str, text: str) -> None:
    [(path, error, message)] = errors({"first": document})
    assert (path, error) == ("first", kind)
    assert message.startswith(text)


def test_the_refusal_of_an_unknown_kind_lists_those_that_are_registered() -> None:
    [(_, _, message)] = errors({"first": {"kind": "cow"}})
    assert message.endswith("'cat', 'crowd', 'dog'")
    [(_, _, message)] = errors({"pet": {"kind": "cat"}})
    assert message.endswith("expected tags: 'dog'")


def test_errors_within_a_member_keep_their_paths() -> None:
    assert [path for path, _, _ in errors({"first": {"kind": "cat", "lives": "many", "tail": 1}})] == [
        "first/lives",
        "first/tail",
    ]
    nested = {"kind": "crowd", "of": [{"kind": "dog"}, {"kind": "cat"}, {"kind": "dog", "name": None}]}
    assert [path for path, _, _ in errors({"first": nested})] == ["first/of/1", "first/of/2/name"]


def test_schemas_list_what_is_registered_at_the_time() -> None:
    def described() -> tuple[list[str], list[str], list[str]]:
        schema = Zoo.model_json_schema()
        first, pet = schema["properties"]["first"], schema["properties"]["pet"]["anyOf"][0]
        found = first["discriminator"]["mapping"], pet["discriminator"]["mapping"]
        return sorted(found[0]), sorted(found[1]), schema["properties"]["colours"]["items"]["enum"]

    assert described() == (["cat", "crowd", "dog"], ["dog"], ["red", "blue"])
    ANIMALS.register(Snake)
    COLOURS.register("green", 3)
    assert described() == (["cat", "crowd", "dog", "snake"], ["dog"], ["red", "blue", "green"])


def test_a_union_without_members_accepts_nothing_and_says_so() -> None:
    nothing = TypeAdapter(Annotated[Animal, Kinds[Animal]("animal", Animal)])
    assert nothing.json_schema() == {"not": {}}
    with pytest.raises(ValidationError):
        nothing.validate_python({"kind": "cat"})


def test_a_kind_or_name_has_one_owner() -> None:
    ANIMALS.register(Cat)
    with pytest.raises(ValueError, match="'cat' is registered as Cat"):
        ANIMALS.register(OtherCat)
    with pytest.raises(ValueError, match="needs a field `kind"):
        ANIMALS.register(Pet)
    with pytest.raises(ValueError, match="registered twice"):
        COLOURS.register("red", 7)
    assert (ANIMALS["cat"], COLOURS["red"]) == (Cat, 1)


def test_a_part_of_a_union_shares_its_kinds_with_the_whole() -> None:
    class StrayCat(Pet):
        kind: Literal["cat"] = "cat"

    assert [model.__name__ for model in ANIMALS] == ["Cat", "Crowd", "Dog"]
    assert ("cat" in PETS, "dog" in PETS, [*PETS]) == (False, True, [Dog])
    with pytest.raises(ValueError, match="'cat' is registered as Cat"):
        PETS.register(StrayCat)


def test_a_reserved_kind_cannot_be_taken() -> None:
    class Unicorn(Animal):
        kind: Literal["unicorn"] = "unicorn"

    with pytest.raises(ValueError, match="'unicorn' is a name that no animal may have"):
        ANIMALS.register(Unicorn)


def test_forgetting_what_another_model_holds_changes_nothing() -> None:
    ANIMALS.forget(OtherCat)
    assert ANIMALS["cat"] is Cat


@pytest.mark.parametrize("colour", ["pink", 1, None])
def test_a_name_that_is_not_registered_is_refused(colour: Any) -> None:
    assert errors({"colours": ["red", colour]}) == [
        ("colours/1", "literal_error", "Input should be 'red' or 'blue'"),
    ]


def test_looking_up_what_is_not_registered_is_the_callers_to_change() -> None:
    implementations = Implementations[str]("wild animal")
    implementations.register(Cat, "purr")
    assert (implementations.of(Cat(lives=1)), len(implementations)) == ("purr", 1)
    with pytest.raises(Invalid, match="no wild animal 'dog' is registered here, only cat") as refused:
        implementations.of(Dog())
    assert refused.value.code == "unknown_wild_animal"
    with pytest.raises(Invalid, match="only red and blue"):
        COLOURS["pink"]
    with pytest.raises(ValueError, match="registered twice"):
        implementations.register(OtherCat, "hiss")
    implementations.forget(Cat)
    with pytest.raises(Invalid, match="only nothing"):
        implementations.of(Cat())


def test_lists_in_messages_read_as_english() -> None:
    assert [in_words(names, "or") for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "nothing",
        "a",
        "a or b",
        "a, b or c",
    ]
