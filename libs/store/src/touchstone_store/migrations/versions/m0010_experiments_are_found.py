"""Experiments are found by what they are about, carry tags and may be put away; judgements carry their headline."""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

BATCH = 500


def upgrade() -> None:
    op.add_column("steps", sa.Column("headline", sa.Text))
    op.add_column("experiments", sa.Column("archived_at", sa.DateTime(timezone=True)))
    facets = op.create_table(
        "experiment_facets",
        sa.Column("experiment_id", sa.String(80), sa.ForeignKey("experiments.id"), primary_key=True),
        sa.Column("facet", sa.String(10), primary_key=True),
        sa.Column("value", sa.String(64), primary_key=True),
    )
    op.create_index("experiment_facets_by_value", "experiment_facets", ["facet", "value", "experiment_id"])
    connection, after = op.get_bind(), ""
    while batch := connection.execute(
        sa.text("SELECT id, CAST(spec AS TEXT) FROM experiments WHERE id > :after ORDER BY id LIMIT :most"),
        {"after": after, "most": BATCH},
    ).all():
        rows = [
            {"experiment_id": experiment, "facet": facet, "value": value}
            for experiment, spec in batch
            for facet, value in sorted(set(_facets(spec)))
        ]
        if rows:
            connection.execute(facets.insert(), rows)
        after = batch[-1][0]


def _facets(text: str) -> Iterator[tuple[str, str]]:
    """Of a spec as any release wrote it; one that cannot be read is found by its name alone."""
    try:
        spec: Any = json.loads(text)
    except ValueError:
        return
    if not isinstance(spec, dict):
        return
    arms = spec.get("arms")
    named = {
        "upstream": [spec.get("upstream")],
        "encoder": [spec.get("encoder")],
        "target": spec.get("targets"),
        "arm": [arm.get("kind") for arm in arms if isinstance(arm, dict)] if isinstance(arms, list) else [],
    }
    for facet, values in named.items():
        for value in values if isinstance(values, list) else []:
            if isinstance(value, str) and len(value) <= 64:
                yield facet, value
