"""Where models and data may come from: what an installation, or a project of it, allows to be read or fetched.

The gateway refuses an entry that names another source when it is registered, and a worker refuses it again, by its own
settings, before it reads or fetches a byte. A project's list narrows what the installation allows: both must permit."""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, StringConstraints

from touchstone_contracts.catalogue import LOCATION, SEGMENT
from touchstone_contracts.problems import Invalid, in_words
from touchstone_contracts.values import One, Strict

EVERYTHING = "*"
_NAME = r"[\w@+-][\w@.+-]*"
_HOST = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?"
Folder = Annotated[str, StringConstraints(pattern=rf"^(\*|{SEGMENT}(/{SEGMENT})*)$", max_length=400)]
"""A folder or file of the library with what is below it; `*` is all of it."""
Bucket = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/*\x00-\x1f\x7f]+)*$", max_length=1000)
]
"""`bucket`, or `bucket/prefix`: whole segments, so `shop/photos` is not `shop/photos-of-staff`."""
Repository = Annotated[str, StringConstraints(pattern=rf"^(\*|{_NAME}/(\*|{_NAME}))$", max_length=200)]
"""`owner/repository`, `owner/*` or `*`."""
Host = Annotated[str, StringConstraints(pattern=rf"^(\*|(\*\.)?{_HOST})$", max_length=253)]
"""`example.org` is that host alone, `*.example.org` every host below it, `*` every host."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


class SourceNotAllowed(Invalid):
    """Says what is allowed and by which setting, never whether anything is there."""

    code = "source_not_allowed"
    status = 403
    title = "Source not allowed"


class HubModel(NamedTuple):
    repository: str
    revision: str
    """The full hash of a commit."""


def hub_model(location: str) -> HubModel:
    """`hub:<owner>/<repository>@<commit>`. Raises Invalid for a branch, a tag or part of a hash: these may name other
    bytes tomorrow."""
    repository, _, revision = location.removeprefix("hub:").partition("@")
    if repository.count("/") != 1 or not _COMMIT.fullmatch(revision):
        raise Invalid(
            f"{location} must name one commit: write hub:<owner>/<repository>@<full hash of the commit, 40 characters>",
            code="hub_not_pinned",
        )
    return HubModel(repository, revision)


class HubDataset(NamedTuple):
    repository: str
    """`owner/name`."""
    revision: str
    """A commit, branch or tag; empty: the newest of the main branch."""
    path: str
    """Of a file or folder in it; empty: all of it."""


def hub_dataset(location: str) -> HubDataset:
    """Of `hf://datasets/<owner>/<name>[@<revision>][/<path>]`."""
    owner, _, rest = location.removeprefix("hf://datasets/").partition("/")
    named, _, path = rest.partition("/")
    name, _, revision = named.partition("@")
    return HubDataset(f"{owner}/{name}", revision, path)


class AllowedSources(Strict):
    """By default the library alone: nothing that needs a network."""

    library: tuple[Folder, ...] = (EVERYTHING,)
    buckets: tuple[Bucket, ...] = ()
    hub: tuple[Repository, ...] = ()
    hosts: tuple[Host, ...] = ()
    """Of the web servers that data comes from and links of an upstream lead to."""

    def require(self, location: str) -> None:
        """`location`: of the catalogue, or as it was typed. Uploaded archives were allowed when they were uploaded.
        Raises SourceNotAllowed."""
        scheme, _, rest = location.partition(":")
        match scheme:
            case "library":
                self._require(_below(rest, self.library), location, "library", "library folders")
            case "s3" | "gs":
                self._require(_below(rest.removeprefix("//"), self.buckets), location, "buckets", "buckets")
            case "hub":
                self._require(_in_hub(rest.partition("@")[0], self.hub), location, "hub", "hub repositories")
            case "hf":
                self._require(_in_hub(hub_dataset(location).repository, self.hub), location, "hub", "hub repositories")
            case "https" | "http":
                self._require(self.permits_host(_host_of(location)), location, "hosts", "hosts")
            case "upload":
                return
            case _:
                raise SourceNotAllowed(
                    f"{location} is not a location in the library, in a bucket, on a hub or on a web server"
                )

    def permits_host(self, host: str) -> bool:
        name = host.lower().rstrip(".")
        return any(_is_host(name, pattern) for pattern in self.hosts)

    def require_hosts(self, location: str) -> None:
        """Of a table of links: raises SourceNotAllowed where links may lead nowhere."""
        self._require(bool(self.hosts), f"the hosts of the links in {location}", "hosts", "hosts")

    def _require(self, permitted: bool, named: str, kind: str, words: str) -> None:
        if not permitted:
            allowed: tuple[str, ...] = getattr(self, kind)
            raise SourceNotAllowed(self._refusal(named, kind, words, in_words(allowed, "and") if allowed else "none"))

    def _refusal(self, named: str, kind: str, words: str, allowed: str) -> str:
        variable = f"TOUCHSTONE_ALLOWED_{kind.upper()}"
        return f"{named} may not be read. Allowed {words}: {allowed} (set {variable} on the gateway and the workers)"


class ProjectSources(AllowedSources):
    """What one project may read, of what the installation allows.

    A kind that is left out is what its setting is when unset: the whole library, and no bucket, hub repository or
    host."""

    @property
    def hosts_of_links(self) -> tuple[Host, ...] | None:
        """As steps name them, so that equal lists are the same step. None: every host of the installation."""
        return None if EVERYTHING in self.hosts else tuple(sorted(set(self.hosts)))

    def _refusal(self, named: str, kind: str, words: str, allowed: str) -> str:
        return f"{named} may not be read by this project. This project may read {words}: {allowed}; ask the operator"


def locations_in(document: BaseModel, pointer: str = "") -> Iterator[tuple[str, str, BaseModel]]:
    """(JSON pointer, location, the model that holds it) of every location that a document names."""
    for name, field in type(document).model_fields.items():
        value = getattr(document, name)
        if LOCATION in field.metadata and isinstance(value, str):
            yield f"{pointer}/{name}", value, document
        elif LOCATION in field.metadata and isinstance(value, One):
            yield f"{pointer}/{name}", value[0], document
        elif LOCATION in field.metadata and isinstance(value, tuple):
            yield from ((f"{pointer}/{name}/{number}", location, document) for number, location in enumerate(value))
        else:
            yield from _locations_within(value, f"{pointer}/{name}")


def _locations_within(value: object, pointer: str) -> Iterator[tuple[str, str, BaseModel]]:
    if isinstance(value, BaseModel):
        yield from locations_in(value, pointer)
    elif isinstance(value, tuple | list):
        for position, item in enumerate(value):
            yield from _locations_within(item, f"{pointer}/{position}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _locations_within(item, f"{pointer}/{key}")


def _host_of(address: str) -> str:
    """Raises SourceNotAllowed where there is none, as in https://[a/b."""
    try:
        host = urlsplit(address).hostname
    except ValueError:
        host = None
    if not host:
        raise SourceNotAllowed(f"{address} is no address of a web server")
    return host


def _below(path: str, allowed: Sequence[str]) -> bool:
    """Whether a path of plain segments is one of `allowed` or below it. A last "/" of a prefix says nothing."""
    if path == "":
        return EVERYTHING in allowed
    segments = path.removesuffix("/").split("/")
    if {"", ".", ".."} & set(segments):
        return False
    return any(
        pattern == EVERYTHING or segments[: len(parts)] == parts
        for pattern in allowed
        for parts in (pattern.split("/"),)
    )


def _in_hub(repository: str, allowed: Sequence[str]) -> bool:
    owner, _, name = repository.partition("/")
    return any(pattern in {EVERYTHING, repository} or (name != "" and pattern == f"{owner}/*") for pattern in allowed)


def _is_host(name: str, pattern: str) -> bool:
    if pattern == EVERYTHING:
        return True
    if pattern.startswith("*."):
        is_address = name.rpartition(".")[2].isdigit()
        return name.endswith(pattern[1:]) and not is_address
    return name == pattern
