"""The whole database in one file that SQLite and Postgres read alike: gzipped lines of JSON, a row each.

The first line says which schema the rows are of, the last one how many there are."""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, DateTime, MetaData, Table, Text, cast, func, inspect, select, text
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine
from touchstone_contracts.problems import Invalid
from touchstone_runtime.whole_files import whole_file

from touchstone_store.database import Store
from touchstone_store.migrate import found_revision, known_revisions, migrate, require_current
from touchstone_store.tables import AuditRow, Base, EventRow, ExperimentRow

VERSION_TABLE = "alembic_version"
ROWS_AT_A_TIME = 500


class UnusableDump(Invalid):
    code = "unusable_dump"
    title = "Unusable copy of a database"


class HoldsExperiments(Invalid):
    code = "holds_experiments"
    status = 409
    title = "The database holds experiments"


def write_dump(store: Store, path: Path) -> int:
    """All rows as they are at one moment; how many. The file is there whole or not at all.

    Raises WrongSchema, or Transient where the database does not answer."""
    require_current(store)
    written = 0
    with whole_file(path) as part, store.read() as session, gzip.open(part, "wt", encoding="utf-8") as lines:
        _hold_still(session)
        lines.write(json.dumps({"revision": known_revisions()[0]}) + "\n")
        for table in Base.metadata.sorted_tables:
            for row in _rows(session, table):
                lines.write(json.dumps({"table": table.name, "row": row}) + "\n")
                written += 1
        lines.write(json.dumps({"rows": written}) + "\n")
    return written


def _hold_still(session: Session) -> None:
    """Every table as of one moment, which a reading transaction of SQLite's is anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def _rows(session: Session, table: Table) -> Iterator[dict[str, Any]]:
    """JSON as the text that it is stored as; a row that refers to another of its table after those that do not."""
    columns = [cast(column, Text).label(column.name) if _is_json(column.type) else column for column in table.columns]
    refers = [key.parent.is_not(None) for key in table.foreign_keys if key.column.table is table]
    query = select(*columns).order_by(*refers, *table.primary_key.columns)
    for row in session.execute(query, execution_options={"yield_per": ROWS_AT_A_TIME}).mappings():
        yield {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _is_json(kind: object) -> bool:
    return isinstance(kind, JSON)


def read_dump(store: Store, path: Path, *, replace: bool = False) -> int:
    """Replaces what the database holds with the rows of a dump and migrates them; returns how many there were.

    Nothing is lost where it is killed: all rows are replaced in one transaction. Raises HoldsExperiments unless
    `replace`, UnusableDump, or Transient."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = _documents(file, path)
        revision = next(lines, {}).get("revision")
        if revision not in known_revisions():
            raise UnusableDump(f"{path} is of schema {revision!r}, which this release does not know: take a later one")
        require_room(store, replace=replace)
        _bring_to(store, revision)
        with store.write() as session:
            count = _replace_rows(session, lines, path)
    migrate(store)
    return count


def _documents(file: Iterable[str], path: Path) -> Iterator[dict[str, Any]]:
    try:
        for line in file:
            yield json.loads(line)
    except (ValueError, OSError, EOFError) as error:
        raise UnusableDump(f"{path} is damaged: {error}") from error


def require_room(store: Store, *, replace: bool) -> None:
    """Raises HoldsExperiments unless the database has none or they may be lost."""
    with store.read() as session:
        there = inspect(session.connection()).has_table(ExperimentRow.__tablename__)
        count = session.scalar(select(func.count()).select_from(ExperimentRow)) if there else 0
    if count and not replace:
        raise HoldsExperiments(f"the database holds {count} experiments: say --replace to lose them")


def _bring_to(store: Store, revision: str) -> None:
    if found_revision(store) == revision:
        return
    with store.write() as session:
        _stored_tables(session).drop_all(session.connection())
    migrate(store, revision)


def _replace_rows(session: Session, documents: Iterator[dict[str, Any]], path: Path) -> int:
    tables = _stored_tables(session)
    for table in reversed(tables.sorted_tables):
        if table.name != VERSION_TABLE:
            session.execute(table.delete())
    count, announced = 0, None
    for name, group in groupby(documents, key=lambda document: document.get("table")):
        if name is None:
            announced = next(group).get("rows")
            continue
        table, rows = tables.tables[name], (document["row"] for document in group)
        while batch := [_values(table, row) for row in islice(rows, ROWS_AT_A_TIME)]:
            session.execute(table.insert(), batch)
            count += len(batch)
    if announced != count:
        raise UnusableDump(f"{path} ends too early: {count} rows of {announced or 'more'}")
    _go_on_counting(session)
    return count


def _stored_tables(session: Session) -> MetaData:
    """As the database has them, which may be those of an earlier release."""
    tables = MetaData()
    tables.reflect(session.connection())
    # SQLite keeps JSON as the text that it is, also where that is none.
    stored = Text() if session.get_bind().dialect.name == "sqlite" else JSON(none_as_null=True)
    for column in (column for table in tables.sorted_tables for column in table.columns if _is_json(column.type)):
        column.type = stored
    return tables


def _values(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(table.columns[name].type, value) for name, value in row.items()}


def _value(kind: TypeEngine[Any], value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, DateTime):
        return datetime.fromisoformat(value)
    return json.loads(value) if _is_json(kind) else value


def _go_on_counting(session: Session) -> None:
    """Rows that come with their number do not move Postgres's counter."""
    if session.get_bind().dialect.name == "postgresql":
        for table in (EventRow.__tablename__, AuditRow.__tablename__):
            session.execute(
                text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table} HAVING max(id) > 0")
            )
