"""Projects and their keys, at the terminal of whoever runs the installation:

    python -m touchstone_api.projects create NAME [--limits '{"active_experiments": 5}']
    python -m touchstone_api.projects limit NAME '{"active_experiments": 5}'
    python -m touchstone_api.projects list
    python -m touchstone_api.projects key NAME --label WHO [--scope admin] [--days 90]

Limits may hold the list of sources that the project may read, of those that the installation allows:

    {"sources": {"library": ["data/birds", "models"], "buckets": ["shop/photos"], "hub": ["openai/*"],
                 "hosts": ["*.example.org"]}}

Left out of the list: the whole library, and no bucket, hub repository or host. `limit` keeps a list that it does not
name; {"sources": null} removes it.

A key is printed once, and kept as a hash alone. Everything else about keys is done with an admin key of the project."""

import argparse
import sys
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session
from touchstone_contracts.access import DEFAULT_PROJECT, SCOPES, Limits, NewKey
from touchstone_contracts.problems import Failure, Invalid
from touchstone_contracts.values import Name
from touchstone_store.audit import note_request
from touchstone_store.database import open_store
from touchstone_store.keys import create_key
from touchstone_store.projects import create_project, limits_of, list_projects, project_named, set_limits
from touchstone_store.settings import StoreSettings

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_WRITTEN = {
    "library": "data/birds, or * for the whole library",
    "buckets": "bucket or bucket/prefix, without s3://",
    "hub": "owner/repository, owner/* or *",
    "hosts": "example.org, *.example.org or *",
}
"""How the patterns of each kind of source are written."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="touchstone_api.projects", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="a new project")
    create.add_argument("name")
    create.add_argument("--limits", default="{}", help="JSON; see GET /v1/project")
    limit = commands.add_parser("limit", help="other limits for a project")
    limit.add_argument("name")
    limit.add_argument("limits", help="JSON; what is left out has no limit, but sources stay")
    commands.add_parser("list", help="all projects")
    key = commands.add_parser("key", help="a new key of a project")
    key.add_argument("name", nargs="?", default=DEFAULT_PROJECT)
    key.add_argument("--label", required=True, help="whose it is, or what for")
    key.add_argument("--scope", choices=SCOPES, default="admin")
    key.add_argument("--days", type=int, help="after which it expires")
    return parser.parse_args(arguments)


def carry_out(session: Session, options: argparse.Namespace, now: datetime) -> str:
    """What to print. Raises ValidationError or Failure; Invalid for limits that cannot be read."""
    if options.command == "list":
        rows = list_projects(session)
        return "\n".join(f"{row.name} {limits_of(session, row.id).model_dump_json(exclude_none=True)}" for row in rows)
    if options.command == "create":
        project = create_project(session, _NAME.validate_python(options.name), _limits(options.limits), now)
    else:
        project = project_named(session, options.name).id
    note_request(session, project, "terminal", f"projects {options.command}", options.name, None, now)
    if options.command == "limit":
        set_limits(session, project, _with_sources(_limits(options.limits), limits_of(session, project)))
    if options.command != "key":
        return f"{options.name} {limits_of(session, project).model_dump_json(exclude_none=True)}"
    return create_key(
        session, project, NewKey(label=options.label, scope=options.scope, expires_in_days=options.days), now
    ).key


def _limits(text: str) -> Limits:
    """Raises Invalid that says for each field what is wrong with it."""
    try:
        return Limits.model_validate_json(text)
    except ValidationError as error:
        told = [_in_words(each["loc"], each["msg"]) for each in error.errors(include_url=False)]
        raise Invalid("\n".join([f"these are no limits: {text}", *told, "See --help for examples."])) from None


def _in_words(location: tuple[int | str, ...], message: str) -> str:
    kind = location[1] if location[:1] == ("sources",) and len(location) > 2 else None
    expected = f": write {_WRITTEN[kind]}" if kind in _WRITTEN else ""
    return f"{'.'.join(map(str, location)) or 'limits'}: {message}{expected}"


def _with_sources(limits: Limits, before: Limits) -> Limits:
    """Removing a list of sources widens what a project may read, so it must be said."""
    return limits if "sources" in limits.model_fields_set else limits.model_copy(update={"sources": before.sources})


def main() -> int:
    options = parse_arguments()
    store = open_store(StoreSettings().database_url.get_secret_value())
    try:
        with store.write() as session:
            said = carry_out(session, options, datetime.now(UTC))
    except (Failure, ValidationError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        store.close()
    print(said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
