"""Calls of the REST API as descriptions, which two clients send: one waits for the answer, the other is awaited.

A method of `touchstone.api.Api` returns a `Call`. On `Client` it is a method that returns the answer, on `AsyncClient`
one that returns an awaitable of it, so each call is written down once."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar, cast, overload

import httpx
from pydantic import BaseModel
from touchstone_contracts.views import Page

T = TypeVar("T")
P = ParamSpec("P")
ViewT = TypeVar("ViewT", bound=BaseModel)
Verb = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Repeatable = Literal["safe", "keyed", "once"]
"""Whether a request may be sent again when its answer is lost. `safe`: yes, the second time changes nothing. `keyed`:
yes, with the idempotency key that the client gives it. `once`: no."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how to read its answer."""

    method: Verb
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, Any] | None = None
    json: Any = None
    repeatable: Repeatable = "safe"


@dataclass(frozen=True)
class Listing(Generic[T]):
    """A list that comes page by page; `page` has `items` and `next_cursor`."""

    path: str
    page: type[Page]
    params: Mapping[str, str]

    def call(self, cursor: str | None) -> Call[Page]:
        return get(self.path, self.page, {**self.params, **given(cursor=cursor)})


def get(path: str, view: type[ViewT], params: Mapping[str, Any] | None = None) -> Call[ViewT]:
    return Call("GET", path, reader(view), params=params)


def post(path: str, view: type[ViewT], json: Any = None, *, repeatable: Repeatable = "safe") -> Call[ViewT]:
    return Call("POST", path, reader(view), json=json, repeatable=repeatable)


def reader(view: type[ViewT]) -> Callable[[httpx.Response], ViewT]:
    return lambda response: view.model_validate_json(response.content)


def nothing(_: httpx.Response) -> None:
    """Of answers without content."""


def given(**query: T | None) -> dict[str, T]:
    """What is not None."""
    return {name: value for name, value in query.items() if value is not None}


class method(Generic[P, T]):  # a decorator
    """A described call as a method of either client."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Call[T]]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: "SyncMethods", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: "AsyncMethods", owner: type) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else _bound(self.describe, client, client.send)


class listing(Generic[P, T]):  # a decorator
    """A described list as a method of either client: an iterator over all pages."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Listing[T]]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: "SyncMethods", owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: "AsyncMethods", owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else _bound(self.describe, client, client.send_pages)


class SyncMethods:
    """Base of a client whose methods return answers."""


class AsyncMethods:
    """Base of a client whose methods are awaited."""


def _bound(describe: Callable[..., Any], client: object, send: Callable[[Any], Any]) -> Callable[..., Any]:
    bound = describe.__get__(client)

    @wraps(bound)
    def sent(*args: Any, **kwargs: Any) -> Any:
        return send(bound(*args, **kwargs))

    return cast("Callable[..., Any]", sent)
