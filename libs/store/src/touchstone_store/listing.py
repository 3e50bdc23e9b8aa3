"""Finding experiments: by a word, by what they are about, by their tags; renaming them, putting them away."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, delete, exists, func, or_, select, tuple_, update
from sqlalchemy.orm import Session
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import JUDGE_EXPERIMENT
from touchstone_contracts.views import ExperimentChanges, Phase

from touchstone_store.experiments import Experiment, experiment_query, to_experiment
from touchstone_store.projects import readable
from touchstone_store.tables import ExperimentFacetRow, ExperimentRow, PlanRow, PlanStepRow, StepRow

Facet = Literal["upstream", "encoder", "target", "arm", "tag"]
Sort = Literal["newest", "oldest", "name"]
MOST_OFFERED = 200
"""Values of a facet to choose from."""


@dataclass(frozen=True)
class Wanted:
    """Which experiments are looked for; all conditions hold together."""

    words: str = ""
    """Each of them in the name, in a tag, or at the beginning of the id; in any case of letters."""
    phase: Phase | None = None
    facets: tuple[tuple[Facet, str], ...] = ()
    archived: bool | None = False
    """Those that were put away and no others, or no such one; None: both."""
    sort: Sort = "newest"


def list_experiments(
    session: Session, project: str, *, after: str | None, limit: int, wanted: Wanted | None = None
) -> list[Experiment]:
    """The project's own and those that others share. `after`: the last experiment of the page before. Raises Invalid
    where that one is needed and gone."""
    wanted = wanted or Wanted()
    query = experiment_query().where(readable(PlanRow, project), *_conditions(wanted)).limit(limit)
    return [to_experiment(row) for row in session.execute(_sorted(session, query, wanted.sort, after)).all()]


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    if wanted.archived is not None:
        yield ExperimentRow.archived_at.is_not(None) if wanted.archived else ExperimentRow.archived_at.is_(None)
    if wanted.phase is not None:
        yield PlanRow.phase == wanted.phase
    for facet, value in wanted.facets:
        yield _has(facet, ExperimentFacetRow.value == value)
    for word in wanted.words.split():
        yield or_(
            ExperimentRow.name.icontains(word, autoescape=True),
            ExperimentRow.id.startswith(word, autoescape=True),
            _has("tag", ExperimentFacetRow.value.icontains(word, autoescape=True)),
        )


def _has(facet: Facet, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    rows = select(1).where(ExperimentFacetRow.experiment_id == ExperimentRow.id, ExperimentFacetRow.facet == facet)
    return exists(rows.where(condition))


def _sorted(session: Session, query: Select[Any], sort: Sort, after: str | None) -> Select[Any]:
    if sort == "newest":
        query = query.order_by(ExperimentRow.id.desc())
        return query if after is None else query.where(ExperimentRow.id < after)
    if sort == "oldest":
        query = query.order_by(ExperimentRow.id)
        return query if after is None else query.where(ExperimentRow.id > after)
    folded = func.lower(ExperimentRow.name)
    query = query.order_by(folded, ExperimentRow.id)
    if after is None:
        return query
    name = session.scalar(select(folded).where(ExperimentRow.id == after))
    if name is None:
        detail = f"experiment {after!r}, after which this page starts, was deleted; start at the first page"
        raise Invalid(detail, code="bad_cursor")
    return query.where(tuple_(folded, ExperimentRow.id) > (name, after))


def facets_of(spec: ExperimentSpec) -> list[tuple[Facet, str]]:
    """What a new experiment is found by."""
    found: set[tuple[Facet, str]] = {("upstream", spec.upstream), ("encoder", spec.encoder)}
    found |= {("target", target) for target in spec.targets} | {("arm", arm.kind) for arm in spec.arms}
    return sorted(found)


def facets_to_choose(session: Session, project: str) -> dict[str, list[str]]:
    """Facet -> the values that the project's experiments have, in alphabetical order."""
    query = (
        select(ExperimentFacetRow.facet, ExperimentFacetRow.value)
        .join(PlanRow, PlanRow.id == ExperimentFacetRow.experiment_id)
        .where(readable(PlanRow, project))
        .distinct()
        .order_by(ExperimentFacetRow.facet, ExperimentFacetRow.value)
    )
    found: defaultdict[str, list[str]] = defaultdict(list)
    for facet, value in session.execute(query):
        if len(found[facet]) < MOST_OFFERED:
            found[facet].append(value)
    return dict(found)


def tags_of(session: Session, experiments: Collection[str]) -> dict[str, tuple[str, ...]]:
    """By experiment, of those that have any, in alphabetical order."""
    query = select(ExperimentFacetRow.experiment_id, ExperimentFacetRow.value).where(
        ExperimentFacetRow.experiment_id.in_(experiments), ExperimentFacetRow.facet == "tag"
    )
    found: defaultdict[str, list[str]] = defaultdict(list)
    for experiment, tag in session.execute(query.order_by(ExperimentFacetRow.value)):
        found[experiment].append(tag)
    return {experiment: tuple(tags) for experiment, tags in found.items()}


def headlines_of(session: Session, experiments: Collection[str]) -> dict[str, str]:
    """What the last judgement of each found, of those that have one."""
    query = (
        select(PlanStepRow.plan_id, StepRow.headline)
        .join(StepRow, StepRow.id == PlanStepRow.step_id)
        .where(
            PlanStepRow.plan_id.in_(experiments),
            StepRow.kind == JUDGE_EXPERIMENT.name,
            StepRow.state == "succeeded",
            StepRow.headline.is_not(None),
        )
        .order_by(PlanStepRow.position)
    )
    return {experiment: headline for experiment, headline in session.execute(query) if headline}


def change_experiment(session: Session, experiment: str, changes: ExperimentChanges, now: datetime) -> None:
    """What it is called and found by; what was asked and answered stays as it is."""
    row = update(ExperimentRow).where(ExperimentRow.id == experiment)
    if changes.name is not None:
        session.execute(row.values(name=changes.name))
    if changes.archived is not None:
        session.execute(row.values(archived_at=now if changes.archived else None))
    if changes.tags is not None:
        tags = ExperimentFacetRow.experiment_id == experiment, ExperimentFacetRow.facet == "tag"
        session.execute(delete(ExperimentFacetRow).where(*tags))
        session.add_all(
            ExperimentFacetRow(experiment_id=experiment, facet="tag", value=tag) for tag in sorted(set(changes.tags))
        )
