"""Seconds that requests take on a database of many finished experiments; a program of its own, so that it can run with
another release's code: `python store_timings.py FOLDER EXPERIMENTS` prints JSON.

One experiment is posted and finished as tests do it. Its rows are copied, so each copy has steps and runs of its own
and shares what reads the upstream and the targets. A few further experiments are posted for real: their results are in
an object store in memory."""

import hashlib
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from support.finished_experiments import finish_experiment, post_experiment
from support.memory_services import api_client, memory_services
from support.specs import spec

SHARED_KINDS = {"ingest_images", "embed_images", "index_upstream"}
REAL = 12
"""Experiments whose results can be read."""
PAGE = 50
AT_ONCE = 100
"""Copies per transaction."""

Row = dict[str, Any]
Told = dict[str, Any]


def main(folder: Path, experiments: int) -> None:
    services = memory_services(folder)
    told = [post_experiment(services, spec(name=f"real {seed}", seeds=(seed, seed + 1))) for seed in range(REAL)]
    for each in told:
        finish_experiment(services, each)
    began = time.perf_counter()
    database = folder / "touchstone.db"
    copies = _copy(database, told[0].id, experiments - REAL)
    filled = time.perf_counter() - began
    began = time.process_time()
    with api_client(services) as client:
        timed = {name: _timed(client, paths) for name, paths in _requests(copies, [each.id for each in told]).items()}
        cpu_seconds = time.process_time() - began
        facts = _facts(client, told[-1].id, copies[0])
    found = {"seconds": timed, "facts": facts, "cpu_seconds": cpu_seconds}
    print(json.dumps(found | {"filled_seconds": filled, "bytes": database.stat().st_size}))


def _copy(database: Path, original: str, count: int) -> list[str]:
    """The ids of the copies, all of them older than what was posted."""
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous=OFF")
    found = {table: _rows(connection, query, original) for table, query in _ROWS.items()}
    names = [f"exp_{number:012x}{0:012x}" for number in range(count)]
    for first in range(0, count, AT_ONCE):
        copies = [_renamed(found, original, name) for name in names[first : first + AT_ONCE]]
        for table in _ROWS:
            _insert(connection, table, [row for copy in copies for row in copy[table]])
        connection.commit()
    connection.close()
    return names


_OF_PLAN = "(SELECT step_id FROM plan_steps WHERE plan_id = :plan)"
_ROWS = {
    "plans": "SELECT * FROM plans WHERE id = :plan",
    "experiments": "SELECT * FROM experiments WHERE id = :plan",
    "steps": f"SELECT * FROM steps WHERE id IN {_OF_PLAN}",
    "step_inputs": f"SELECT * FROM step_inputs WHERE step_id IN {_OF_PLAN}",
    "plan_steps": "SELECT * FROM plan_steps WHERE plan_id = :plan",
    "events": "SELECT plan_id, event, data, at FROM events WHERE plan_id = :plan",
}
_PLANS, _STEPS = {"plan_id"}, {"step_id", "input_id"}


def _rows(connection: sqlite3.Connection, query: str, plan: str) -> list[Row]:
    return [dict(row) for row in connection.execute(query, {"plan": plan})]


def _renamed(found: dict[str, list[Row]], original: str, name: str) -> dict[str, list[Row]]:
    """The rows of a copy, without those it shares with the original."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    step_of = {
        row["id"]: row["id"] if row["kind"] in SHARED_KINDS else hashlib.sha256((name + row["id"]).encode()).hexdigest()
        for row in found["steps"]
    }

    def renamed(row: Row) -> Row:
        given = dict.fromkeys(_PLANS & set(row), name)
        return row | given | {column: step_of[row[column]] for column in _STEPS & set(row)}

    copied = {table: [renamed(row) for row in found[table]] for table in ("step_inputs", "plan_steps", "events")}
    own = {step for before, step in step_of.items() if before != step}
    return copied | {
        "plans": [row | {"id": name} for row in found["plans"]],
        "experiments": [row | {"id": name, "identity": digest, "name": name} for row in found["experiments"]],
        "steps": [row | {"id": step_of[row["id"]]} for row in found["steps"] if step_of[row["id"]] in own],
        "step_inputs": [row for row in copied["step_inputs"] if row["step_id"] in own],
    }


def _insert(connection: sqlite3.Connection, table: str, rows: list[Row]) -> None:
    if rows:
        columns = ", ".join(rows[0])
        marks = ", ".join("?" for _ in rows[0])
        values = (tuple(row.values()) for row in rows)
        connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)


def _requests(copies: list[str], real: list[str]) -> dict[str, list[str]]:
    """Paths by what is asked; different ones, so that nothing is answered from memory that was asked before."""
    spread = copies[:: max(1, len(copies) // 60)]
    return {
        "list": [f"/v1/experiments?limit={PAGE}"] * 40,
        "detail": [f"/v1/experiments/{each}" for each in spread],
        "results": [f"/v1/experiments/{each}/results" for each in real],
        "start": ["/"] * 30,
        "metrics": ["/metrics"] * 8,
    }


def _timed(client: TestClient, paths: list[str]) -> list[float]:
    return list(_seconds(client, paths))


def _seconds(client: TestClient, paths: list[str]) -> Iterator[float]:
    for path in paths:
        began = time.perf_counter()
        answer = client.get(path)
        seconds = time.perf_counter() - began
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
        yield seconds


def _facts(client: TestClient, real: str, copy: str) -> Told:
    """What both releases must answer alike."""
    ask: Callable[[str], Any] = lambda path: client.get(path).json()  # noqa: E731
    listed, detail = ask(f"/v1/experiments?limit={PAGE}"), ask(f"/v1/experiments/{copy}")
    return {
        "listed": len(listed["items"]),
        "phases": sorted({item["phase"] for item in listed["items"]}),
        "steps": detail["steps"]["succeeded"],
        "step_list": len(detail["step_list"]),
        "results": ask(f"/v1/experiments/{real}/results")["digest"],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
