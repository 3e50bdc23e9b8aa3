"""What the database itself saw happen to steps, whoever did it: an append-only log that triggers write, and its rules.

Only for SQLite. The code under test neither knows of the log nor writes it."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

LOG = """
CREATE TABLE IF NOT EXISTS oracle_log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, step TEXT, before TEXT, after TEXT, attempt INTEGER, attempt_before INTEGER);
CREATE TRIGGER IF NOT EXISTS oracle_update AFTER UPDATE ON steps
    WHEN OLD.state <> NEW.state OR OLD.attempt <> NEW.attempt
    BEGIN INSERT INTO oracle_log (step, before, after, attempt, attempt_before)
        VALUES (NEW.id, OLD.state, NEW.state, NEW.attempt, OLD.attempt); END;
CREATE TRIGGER IF NOT EXISTS oracle_insert AFTER INSERT ON steps
    BEGIN INSERT INTO oracle_log (step, before, after, attempt, attempt_before)
        VALUES (NEW.id, 'new', NEW.state, NEW.attempt, NEW.attempt); END;
"""
COUNTS = ("waiting", "leased", "succeeded", "failed")


@dataclass(frozen=True)
class Seen:
    """What the log holds."""

    leases: int
    commits: int
    """Steps that became succeeded, each time."""
    plans: int


@dataclass(frozen=True)
class Oracle:
    database: Path

    def install(self) -> None:
        with self._connection() as connection:
            connection.executescript(LOG)

    def require_sound(self) -> Seen:
        """Fails where two leases were on one step, a result was committed twice, a step was handed out before its
        inputs were there, or a plan's counts are not those of its steps."""
        with self._connection() as connection:
            connection.execute("BEGIN")  # all of it as of one moment
            inputs: dict[str, list[str]] = {}
            for step, needed in connection.execute("SELECT step_id, input_id FROM step_inputs"):
                inputs.setdefault(step, []).append(needed)
            log = connection.execute("SELECT step, before, after, attempt, attempt_before FROM oracle_log ORDER BY seq")
            seen = _replay(log.fetchall(), inputs)
            plans = _require_counts(connection)
        return Seen(*seen, plans)

    def failures(self) -> int:
        """Attempts that any step was blamed for and not forgiven."""
        with self._connection() as connection:
            return int(connection.execute("SELECT sum(failures) FROM steps").fetchone()[0] or 0)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.database, timeout=30)) as connection, connection:
            yield connection


def _replay(log: list[tuple[str, str, str, int, int]], inputs: dict[str, list[str]]) -> tuple[int, int]:
    state: dict[str, str] = {}
    leased: dict[str, set[int]] = {}
    leases = commits = 0
    for step, before, after, attempt, attempt_before in log:
        if before == "new":  # it may have been collected and asked for again
            state.pop(step, None)
            leased.pop(step, None)
        assert state.get(step, before) == before, f"{step[:12]} was {state[step]}, then left {before}"
        if after == "leased" and before == "leased":
            raise AssertionError(f"{step[:12]}: attempt {attempt} while attempt {attempt_before} had the lease")
        if after == "leased":
            assert before == "waiting", f"{step[:12]} was handed out while {before}"
            assert attempt == attempt_before + 1, f"{step[:12]}: attempt {attempt} after {attempt_before}"
            assert attempt not in leased.get(step, ()), f"{step[:12]}: attempt {attempt} was handed out twice"
            waiting = [needed for needed in inputs.get(step, ()) if state.get(needed, "succeeded") != "succeeded"]
            assert not waiting, f"{step[:12]} was handed out before its inputs {[name[:12] for name in waiting]}"
            leased.setdefault(step, set()).add(attempt)
            leases += 1
        elif after == "succeeded":
            assert before != "succeeded", f"{step[:12]} was committed twice"
            commits += 1
        state[step] = after
    return leases, commits


def _require_counts(connection: sqlite3.Connection) -> int:
    """How many plans there are."""
    found: dict[str, Counter[str]] = {}
    query = "SELECT plan_id, state, count(*) FROM plan_steps JOIN steps ON id = step_id GROUP BY plan_id, state"
    for plan, state, count in connection.execute(query):
        found.setdefault(plan, Counter())[state] = count
    plans = connection.execute(f"SELECT id, phase, total, {', '.join(COUNTS)} FROM plans").fetchall()
    for plan, phase, total, *counts in plans:
        of_steps = found.get(plan, Counter())
        assert dict(zip(COUNTS, counts, strict=True)) == {name: of_steps[name] for name in COUNTS}, f"counts of {plan}"
        assert total == of_steps.total(), f"{plan} has {of_steps.total()} steps and says {total}"
        if phase == "succeeded":
            assert of_steps["succeeded"] == total, f"{plan} ended without all its steps"
    return len(plans)
