"""Asking a worker to look at a location, and telling how far it is. What it finds is registered by the conductor."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy.orm import Session
from touchstone_contracts.catalogue import Encoder
from touchstone_contracts.locations import Located, LocatedDataset, LocatedUpstream
from touchstone_contracts.problems import FieldError, Invalid, in_words
from touchstone_contracts.steps import DESCRIBE_SOURCE
from touchstone_contracts.suggestions import unknown
from touchstone_contracts.views import DescribedKind, DescriptionView, Phase
from touchstone_planning.dag import Plan
from touchstone_planning.located import describe_request
from touchstone_planning.resolve import Found
from touchstone_planning.state import ACTIVE
from touchstone_store.catalogue import NameTaken, RegisteredNames, find_entry, list_entries
from touchstone_store.contention import created_or_found
from touchstone_store.descriptions import (
    Description,
    find_description,
    kind_of,
    new_description_plan,
    put_description,
    require_description,
)
from touchstone_store.experiments import PlanState, plan_states
from touchstone_store.idempotency import digest_of_posted, remember
from touchstone_store.plans import Survey, create_plan
from touchstone_store.steps import outages_of, owned_steps, problems_of

from touchstone_api.access.authorise import ENTRIES
from touchstone_api.allowed import ProjectPolicy
from touchstone_api.bootstrap import Services
from touchstone_api.submission import index_encoder

PLURALS: dict[DescribedKind, str] = {"upstream": "upstreams", "target": "targets", "dataset": "datasets"}
MOST_ENCODERS_LOOKED_AT = 1000


def submit_located(services: Services, project: str, located: Located, idempotency_key: str | None = None) -> bool:
    """Has a worker look at the location. Whether that is new: the same again is the same, and is tried again where it
    had failed. Raises SourceNotAllowed, Invalid, KeyReused, NameTaken or Transient."""
    asked = digest_of_posted(f"located {kind_of(located)}", located)
    with services.store.read() as session:
        policy = ProjectPolicy(session, project, services.settings.allowed_sources)
        policy.require_document(located)
        located, classes = _completed(policy, located)

    def attempt() -> bool:
        with services.store.write() as session:
            if idempotency_key:
                remember(session, project, idempotency_key, asked, datetime.now(UTC))
            return _create_or_find(session, project, located, classes)

    return created_or_found(attempt, "the same is being asked for by others")


def _completed(policy: ProjectPolicy, located: Located) -> tuple[Located, Sequence[str]]:
    """With the index encoder of an upstream; and the display names of the classes of a data set's target."""
    if isinstance(located, LocatedUpstream):
        encoder = index_encoder(policy, located.index_encoder or _only_encoder(policy))
        return located.model_copy(update={"index_encoder": encoder.name}), ()
    if not isinstance(located, LocatedDataset):
        return located, ()
    names = RegisteredNames(policy.session, policy.project)
    target = names.target(located.target)
    if target is None:
        problem = FieldError(pointer="/target", detail=unknown("target", located.target, names.names("target")))
        raise Invalid("the target is not registered", code="unknown_name", errors=(problem,))
    policy.require_registered([Found("/target", target)], names)
    return located, [label.display_name for label in target.classes]


def _only_encoder(policy: ProjectPolicy) -> str:
    encoders = list_entries(policy.session, Encoder, policy.project, after=None, limit=MOST_ENCODERS_LOOKED_AT)
    with_text = [each.entry.name for each in encoders if each.entry.has_text_tower]
    if len(with_text) == 1:
        return with_text[0]
    known = (
        f"registered are {in_words(with_text[:10], 'and')}" if with_text else "none is registered: register one first"
    )
    problem = FieldError(pointer="/index_encoder", detail=f"name the encoder that searches the upstream; {known}")
    raise Invalid(problem.detail, code="unknown_name", errors=(problem,))


def _create_or_find(session: Session, project: str, located: Located, classes: Sequence[str]) -> bool:
    kind = kind_of(located)
    known = find_description(session, kind, project, located.name)
    if known is not None and not _came_to_nothing(session, known):
        if known.located == located:
            return False
        state = "was registered from" if known.registered else "is being described at"
        raise NameTaken(f"{kind} {located.name!r} {state} another location or in another way; choose another name")
    if known is None and find_entry(session, ENTRIES[PLURALS[kind]], located.name, project) is not None:  # type: ignore[type-var]
        raise NameTaken(f"{kind} {located.name!r} is registered already; choose another name")
    plan, now, id_ = Plan(), datetime.now(UTC), new_description_plan()
    request = describe_request(located, f"{now.isoformat()} {secrets.token_hex(8)}", classes)
    step = plan.add(DESCRIBE_SOURCE, request, f"{located.name}/describe")
    create_plan(session, id_, plan.steps, Survey(), now, project=project)
    put_description(session, located, project, id_, step, now)
    return True


def _came_to_nothing(session: Session, description: Description) -> bool:
    return _phase(session, description) in ("failed", "cancelled")


def _phase(session: Session, description: Description) -> Phase:
    if description.registered:
        return "succeeded"
    if description.problem is not None:
        return "failed"
    phase = plan_states(session, [description.plan]).get(description.plan, PlanState()).phase
    return "running" if phase == "succeeded" else phase  # the conductor has yet to register it


def description_view(session: Session, description: Description) -> DescriptionView:
    phase, plan = _phase(session, description), description.plan
    problems = problems_of(session, [plan]).get(plan, ()) if phase == "failed" else ()
    if phase in ACTIVE:
        problems = outages_of(session, [plan]).get(plan, ())
    (step,) = (owned.view() for owned in owned_steps(session, plan))
    return DescriptionView(
        kind=description.kind,
        name=description.name,
        asked=description.located,
        phase=phase,
        done=step.done,
        total=step.total,
        problems=problems if description.problem is None else (description.problem,),
        notes=description.notes,
        registered=f"/v1/{PLURALS[description.kind]}/{description.name}" if description.registered else None,
        created_at=description.created_at,
    )


def view_of(services: Services, kind: DescribedKind, project: str, name: str) -> DescriptionView:
    """Raises NotFound."""
    with services.store.read() as session:
        return description_view(session, require_description(session, kind, project, name))
