"""Trying failed work again: of an experiment, of an upstream's ingest, or a single step of either."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

from sqlalchemy.orm import Session
from touchstone_contracts.catalogue import Upstream
from touchstone_contracts.problems import Invalid, NotFound
from touchstone_contracts.values import Digest, StepId
from touchstone_contracts.views import Phase, StepDetail
from touchstone_store import plans
from touchstone_store.catalogue import require_registered
from touchstone_store.experiments import PlanState, plan_states, require_experiment
from touchstone_store.layouts import upstream_of, upstream_plan_id
from touchstone_store.plan_steps import facts_of_failed_steps, find_step
from touchstone_store.plans import Require, nothing

from touchstone_api.bootstrap import Services
from touchstone_api.healing import heal


class NotRetryable(Invalid):
    """Only what failed or was cancelled can be tried again."""

    code = "not_retryable"
    status = 409
    title = "Nothing to retry"


class FactsMissing(Invalid):
    """Trying again would fail: what the stored requests name is gone from the object store."""

    code = "facts_missing"
    status = 409
    title = "Parts of the requests are missing"


@dataclass(frozen=True)
class Owner:
    """Whose steps they are: an experiment's or an upstream's."""

    plan: str
    title: str
    """In a sentence, e.g. `upstream 'miniverse'`."""
    path: str
    """Its path in the API."""
    phase: Phase
    post_again: str
    """How its facts are written again."""
    upstream: str | None = None
    """The plan of the upstream whose ingest it waits for: a retry is one of that too."""


FindOwner = Callable[[Session], Owner]
"""Raises NotFound."""


def experiment_owner(session: Session, experiment: str) -> Owner:
    found = require_experiment(session, experiment)
    return Owner(
        plan=experiment,
        phase=found.phase,
        upstream=found.needs,
        title=f"experiment {experiment}",
        path=f"/v1/experiments/{experiment}",
        post_again="post the experiment's spec again (POST /v1/experiments)",
    )


def upstream_owner(session: Session, name: str, project: str) -> Owner:
    found = require_registered(session, Upstream, name, project)
    return upstream_plan_owner(session, upstream_plan_id(name, found.project))


def upstream_plan_owner(session: Session, plan: str) -> Owner:
    name = upstream_of(plan)
    return Owner(
        plan=plan,
        phase=plan_states(session, [plan]).get(plan, PlanState()).phase,
        title=f"upstream {name!r}",
        path=f"/v1/upstreams/{name}",
        post_again="register the upstream again with the same body (POST /v1/upstreams)",
    )


def require_step(session: Session, owner: Owner, step: StepId) -> StepDetail:
    """Raises NotFound."""
    found = find_step(session, owner.plan, step)
    if found is None:
        raise NotFound(f"{owner.title} has no step {step!r}; GET {owner.path}/steps lists those it has")
    return found


def retry_failed_steps(services: Services, find_owner: FindOwner, require: Require = nothing) -> None:
    """Failed steps get all their attempts again, those of the upstream's ingest included; a cancelled experiment goes
    on, and so does a finished one whose results were lost. `require` is asked before anything is looked for, and again
    in the transaction that changes something. Raises NotFound, NotRetryable or FactsMissing."""
    with services.store.read() as session:
        owner = find_owner(session)
        require(session)
    if owner.phase == "succeeded" and heal(services, owner.plan, require):
        return
    with services.store.read() as session:
        owners = [owner] if owner.upstream is None else [owner, upstream_plan_owner(session, owner.upstream)]
        named = [facts_of_failed_steps(session, each.plan).values() for each in owners]
    for each, facts in zip(owners, named, strict=True):
        _require_facts(services, each, set(chain.from_iterable(facts)))

    def retryable(session: Session) -> None:
        require(session)
        owner = find_owner(session)
        if owner.phase not in {"failed", "cancelled"}:
            raise NotRetryable(f"{owner.title} is {owner.phase}; only what failed or was cancelled can be retried")

    with services.store.write() as session:
        plans.retry_plan(session, find_owner(session).plan, datetime.now(UTC), retryable)


def retry_step(services: Services, find_owner: FindOwner, step: StepId) -> None:
    """A failed step gets all its attempts again, and whatever had ended with it goes on. Raises NotFound, NotRetryable
    or FactsMissing."""
    with services.store.read() as session:
        owner = find_owner(session)
        require_step(session, owner, step)
        named = facts_of_failed_steps(session, owner.plan)
    _require_facts(services, owner, set(named.get(step, ())))
    with services.store.write() as session:
        owner = find_owner(session)
        _require_retryable(owner, require_step(session, owner, step))
        plans.retry_step(session, step, datetime.now(UTC))


def _require_retryable(owner: Owner, step: StepDetail) -> None:
    if step.state != "failed":
        raise NotRetryable(f"step {step.id} of {owner.title} is {step.state}; only a failed step can be retried")
    if owner.phase == "cancelled":
        raise NotRetryable(f"{owner.title} was cancelled, so no step of it runs; POST {owner.path}/retry resumes it")


def _require_facts(services: Services, owner: Owner, named: Collection[Digest]) -> None:
    missing = services.artifacts.missing_facts(sorted(named))
    if missing:
        raise FactsMissing(
            f"{len(missing)} of the {len(named)} facts that failed steps of {owner.title} name (class lists, templates "
            f"and the like) are not in the object store; {owner.post_again}, which writes them again, then retry"
        )
