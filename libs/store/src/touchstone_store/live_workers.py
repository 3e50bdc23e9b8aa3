"""How many workers live, by queue. The conductor counts and notes them; the api reads the note, because it does not
reach Redis, where workers announce themselves."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from touchstone_store.contention import insert_into
from touchstone_store.tables import LiveWorkersRow

NOTED_EVERY = timedelta(minutes=1)
"""Unless a number changes, which is noted at once."""
KNOWN_FOR = 3 * NOTED_EVERY
"""An older note says nothing of today's workers: no conductor runs."""


def note_live_workers(session: Session, workers: Mapping[str, int], now: datetime) -> None:
    """Replaces what was noted of these queues, always in the same order: another conductor may be doing the same."""
    rows = [{"queue": queue, "workers": count, "noted_at": now} for queue, count in sorted(workers.items())]
    note = insert_into(session, LiveWorkersRow).values(rows)
    changes = {"workers": note.excluded.workers, "noted_at": note.excluded.noted_at}
    session.execute(note.on_conflict_do_update(index_elements=[LiveWorkersRow.queue], set_=changes))


def live_workers(session: Session, now: datetime) -> dict[str, int] | None:
    """By queue; None where no conductor has counted them lately."""
    query = select(LiveWorkersRow.queue, LiveWorkersRow.workers).where(LiveWorkersRow.noted_at > now - KNOWN_FOR)
    return dict(session.execute(query).all()) or None
