"""What is given to the client as a name never leads to another request than the one that was meant."""

import inspect
from typing import Any
from urllib.parse import unquote

import pytest
from touchstone.api import Api
from touchstone.calls import Call, Listing, listing, method
from touchstone.errors import UnknownName
from touchstone.paths import path_of

NO_NAMES = ["", ".", "..", "flags/../keys", "a/b", "/"]
ODD_NAMES = ["a b", "a?limit=1", "a#b", "50%", "%2e%2e", "naïve", "a;b", "a\\b", "a\nb"]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_nothing_can_be_called_is_refused_before_a_request(name: str) -> None:
    with pytest.raises(UnknownName, match="nothing is called"):
        path_of("upstreams", name, "search")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_other_name_stays_one_part_of_the_path(name: str) -> None:
    path = path_of("upstreams", name, "search")
    assert not set("?# \n") & set(path)
    parts = path.split("/")
    assert (parts[:3], unquote(parts[3]), parts[4:]) == (["", "v1", "upstreams"], name, ["search"])


IN_PATHS = {
    "arm", "delivery", "experiment", "image", "key_id", "name", "owner", "search", "step", "upstream", "webhook",
}  # fmt: skip


def methods() -> dict[str, list[str]]:
    """Of the client, with the parameters that each needs; without those that take documents."""
    found = {}
    for name, member in vars(Api).items():
        if not isinstance(member, method | listing):
            continue
        required = [
            each.name
            for each in list(inspect.signature(member.describe).parameters.values())[1:]
            if each.default is inspect.Parameter.empty and each.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        if set(required) & IN_PATHS and set(required) <= IN_PATHS | {"target", "size"}:
            found[name] = required
    return found


def described(name: str, parameters: dict[str, Any]) -> Call[Any] | Listing[Any]:
    answer: Call[Any] | Listing[Any] = vars(Api)[name].describe(None, **parameters)
    return answer


@pytest.mark.parametrize("name", methods())
def test_no_method_takes_a_path_for_a_name(name: str) -> None:
    needed = methods()[name]
    good: dict[str, Any] = {each: 1 if each == "size" else f"my-{each}" for each in needed}
    in_path = [each for each in needed if f"/my-{each}" in described(name, good).path]
    assert in_path
    for wrong in in_path:
        with pytest.raises(UnknownName, match="nothing is called"):
            described(name, good | {wrong: "a/b"})


def test_most_methods_were_looked_at() -> None:
    assert len(methods()) >= 35
