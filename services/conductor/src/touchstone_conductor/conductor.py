"""The conductor's cycle: receive reports, apply them, expire leases, register what was looked at, hand out ready steps.

Truth lies in SQL (leases) and in the object store (results). Every cycle may end anywhere, by a signal or a dead
server: what was not applied shows again as an expired lease, and what was leased but never sent as a message that is
not in its queue. Two conductors at once do no harm: each change locks its step's row."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from touchstone_contracts.keys import blob_key
from touchstone_contracts.messages import (
    HostMemory,
    LiveWorker,
    StepFailed,
    StepManifest,
    StepMessage,
    StepProgressed,
    StepReport,
    StepSucceeded,
)
from touchstone_contracts.problems import Problem, Transient
from touchstone_contracts.steps import QUEUES, channel_of, every_contract
from touchstone_contracts.values import StepId
from touchstone_planning import transitions
from touchstone_planning.state import Step
from touchstone_planning.transitions import Limits
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.logs import get_logger
from touchstone_runtime.queue import Dispatcher
from touchstone_runtime.tracing import NO_TRACES, Traces
from touchstone_store.database import Store
from touchstone_store.events import compact_history, plans_to_compact
from touchstone_store.live_workers import NOTED_EVERY, note_live_workers
from touchstone_store.plans import StepChange, fail_unreadable, save_steps
from touchstone_store.steps import (
    expired_ids,
    find_rows,
    first_ready,
    inputs_of,
    leased_by_channel,
    lock_step,
    message_of,
    renew_started,
    shorten_pauses,
    to_step,
    traceparent_of,
    unserved_steps,
    unstarted_of,
    unwanted_ids,
)
from touchstone_store.stored_bytes import note_blobs, steps_with_blob
from touchstone_store.tables import StepRow
from touchstone_store.unreadable import UnreadableRow

from touchstone_conductor.described import DescribedSources
from touchstone_conductor.history import event_of
from touchstone_conductor.lost_messages import Fate, LostMessages
from touchstone_conductor.metrics import ConductorMetrics
from touchstone_conductor.retirement import Retirement, StoredContract, retired
from touchstone_conductor.shares import Shares

log = get_logger(__name__)

PATIENCE_IN_LEASES = 1 / 6
"""For how long messages must be missing until they are taken for lost, in lengths of a lease."""
ROLLOUT_IN_LEASES = 20
"""For how long steps of a later release wait for its workers, in lengths of a lease."""
LOOKS_PER_LEASE = 6
"""How often steps that nobody serves are looked for."""
LOST_INPUT_CODES = frozenset({"missing_object", "corrupt_object"})


class Reports(Protocol):
    """What the conductor needs of runtime.reports.ReportLine."""

    def receive(self, timeout: float) -> list[StepReport]: ...

    def mark_cancelled(self, step: StepId) -> None: ...

    def note_attempt(self, step: StepId, attempt: int) -> None: ...


class LiveWorkers(Protocol):
    """What the conductor needs of runtime.presence."""

    def live(self) -> tuple[LiveWorker, ...]: ...


def utc_now() -> datetime:
    return datetime.now(UTC)


class SteadyClock:
    """The time of day when this process started, and what has passed since: it never jumps when somebody sets the
    machine's clock, so no worker is taken for silent because of that."""

    def __init__(self) -> None:
        self._offset = datetime.now(UTC) - timedelta(seconds=time.monotonic())

    def __call__(self) -> datetime:
        return self._offset + timedelta(seconds=time.monotonic())


Change = Callable[[Step], Step]


@dataclass
class Conductor:
    store: Store
    artifacts: Artifacts
    reports: Reports
    dispatcher: Dispatcher
    presence: LiveWorkers
    limits: Limits = field(default_factory=Limits)
    leases_per_worker: int = 2
    """One to compute and the next, so that nobody waits for a cycle of the conductor (see shares.py)."""
    workers: tuple[LiveWorker, ...] = ()
    """As last heard."""
    now: Callable[[], datetime] = utc_now
    metrics: ConductorMetrics = field(default_factory=ConductorMetrics)
    traces: Traces = NO_TRACES
    _waiting_reports: list[StepReport] = field(default_factory=list)
    """Received, but the database or the object store did not answer when they were to be applied."""
    _unread: set[StepId] = field(default_factory=set)
    """Steps that say what they wait for, because their results cannot be read."""
    _handed_out: dict[StepId, datetime] = field(default_factory=dict)
    """Steps that no worker has started yet, as far as this process knows."""
    _memory: dict[StepId, HostMemory] = field(default_factory=dict)
    """Of the workers of leased steps, as they last told this process."""
    _lost: LostMessages = field(init=False)
    _retirement: Retirement = field(init=False)
    _deaf: bool = True
    """Reports could not be received when they were last asked for, or never have been."""
    _noted: tuple[dict[str, int], datetime] | None = None
    """How many workers of each queue were last noted for the api, and when."""
    _next_look: datetime | None = None
    """For steps that nobody serves."""

    def __post_init__(self) -> None:
        lease = self.limits.lease
        self._lost = LostMessages(lease * PATIENCE_IN_LEASES)
        self._retirement = Retirement(patience=lease, rollout=lease * ROLLOUT_IN_LEASES)

    @property
    def live_workers(self) -> Mapping[str, int]:
        """By queue."""
        return dict.fromkeys(QUEUES, 0) | Counter(worker.queue for worker in self.workers)

    def cycle(self, timeout: float) -> bool:
        """One round; waits up to `timeout` seconds for reports. Whether every server answered."""
        parts = (
            lambda: self._receive(timeout),
            self._apply_reports,
            self._expire_leases,
            self._take_back_unwanted,
            self._register_described,
            self._hand_out,
            self._compact_histories,
        )
        answered = [self._survives(part) for part in parts]
        return all(answered)

    def _survives(self, part: Callable[[], None]) -> bool:
        """Other parts go on when one server is away; everything missed shows again in a later cycle."""
        try:
            part()
        except Transient as error:
            log.warning("conductor.hindered", code=error.code, error=str(error))
            return False
        return True

    def _receive(self, timeout: float) -> None:
        """While nothing can be heard, nobody is silent. Afterwards, as after the start of this process, every worker
        has a whole lease to speak again and no pause is longer than it can be, whatever the clock was meanwhile."""
        deaf, self._deaf = self._deaf, True
        self._waiting_reports += self.reports.receive(timeout)
        if deaf:
            with self.store.write() as session:
                renew_started(session, self.now() + self.limits.lease)
                shorten_pauses(session, self.now() + self.limits.longest_pause)
        self._deaf = False

    def _apply_reports(self) -> None:
        reports, self._waiting_reports = self._waiting_reports, []
        away: Transient | None = None
        for position, report in enumerate(reports):
            if away is not None and _needs_results(report):
                self._waiting_reports.append(report)
                continue
            try:
                self._apply(report)
            except Transient as error:
                self._waiting_reports.append(report)
                if error.code == "database":
                    self._waiting_reports += reports[position + 1 :]
                    raise
                # Asked once in a cycle: a silent server takes its time to be found away.
                away = away or (error if error.code == "object_store" else None)
                log.warning("report.postponed", step=report.step_id[:12], error=str(error))
        if away is None:
            self._unread = set()
        else:
            self._note_unread(away.problem())

    def _note_unread(self, problem: Problem) -> None:
        """Steps that are done, as their workers say, say why they do not end."""
        now = self.now()
        done = {report.step_id for report in self._waiting_reports if isinstance(report, StepSucceeded)}
        for step in sorted(done - self._unread):
            self._change(step, lambda before: transitions.await_reading(before, problem, now))
        self._unread = done

    def _apply(self, report: StepReport) -> None:
        if isinstance(report, StepSucceeded):
            manifest = self.artifacts.manifest(report.step_id)
            if manifest is None:
                log.warning("report.without_manifest", step=report.step_id[:12])
            else:
                self._succeed(report.step_id, manifest)
            return
        now = self.now()
        if isinstance(report, StepFailed) and _needs_results(report) and self._forget_lost(report):
            self._change(report.step_id, lambda step: transitions.await_inputs(step, report, now, self.limits))
        elif self._change(report.step_id, lambda step: transitions.apply_report(step, report, now, self.limits)):
            self._note_memory(report)

    def _note_memory(self, report: StepReport) -> None:
        if isinstance(report, StepProgressed) and report.memory is not None:
            self._memory[report.step_id] = report.memory

    def _succeed(self, step: StepId, manifest: StepManifest) -> bool:
        now = self.now()
        return self._change(step, lambda before: transitions.succeed(before, now, manifest), manifest)

    def _change(self, step: StepId, change: Change, result: StepManifest | None = None) -> bool:
        """Applies a pure transition to a step, with all that follows for plans, in one transaction. Whether anything
        changed. `result`: what the step has come to."""
        try:
            with self.store.write() as session:
                row = lock_step(session, step)
                if row is None:
                    return False
                before = to_step(row)
                after = change(before)
                if after == before:
                    return False
                save_steps(session, [StepChange(row, after, event_of(before, after))], self.now())
                if result is not None:
                    note_blobs(session, [result])
        except UnreadableRow as error:
            self._give_up(error)
            return False
        self._measure(row.kind, before, after)
        if after.state != before.state:
            log.info("step.changed", step=step[:12], kind=row.kind, state=after.state, attempt=after.attempt)
        return True

    def _give_up(self, error: UnreadableRow) -> None:
        """A step that cannot be read stops the plans that need it, and nothing else."""
        log.error("step.unreadable", step=error.row[:12], error=str(error))
        self._handed_out.pop(error.row, None)
        with self.store.write() as session:
            fail_unreadable(session, error.row, error.problem(), self.now())

    def _measure(self, kind: str, before: Step, after: Step) -> None:
        if after.state != "leased":
            self._memory.pop(after.id, None)
        started = before.started_at is None and after.started_at is not None
        if not started and after.state == "leased":
            return
        handed_out = self._handed_out.pop(after.id, None)
        if started and after.started_at is not None and handed_out is not None:
            self.metrics.started(kind, (after.started_at - handed_out).total_seconds())

    def _forget_lost(self, report: StepFailed) -> bool:
        """A step could not read an input: results that are gone are computed again. Whether there are any.

        A request may also name what its inputs were made from (retrieval reads the shards that the index is of, the
        judge the runs that evaluations chose from), so these are looked at too, and so is what lost results need, and
        whoever wrote the object that is missing, however far away."""
        missing = (report.problem.missing_object or "").rpartition("/")[2]
        with self.store.read() as session:
            near = inputs_of(session, [report.step_id])
            unseen = near | inputs_of(session, near) | steps_with_blob(session, missing)
        seen: set[StepId] = set()
        lost: set[StepId] = set()
        while unseen:
            gone = {step for step in sorted(unseen) if self._is_lost(step, report.problem.missing_object)}
            seen, lost = seen | unseen, lost | gone
            with self.store.read() as session:
                unseen = inputs_of(session, gone) - seen
        for step in sorted(lost):
            log.warning("result.lost", step=step[:12])
            self._change(step, transitions.forget_result)
        return bool(lost)

    def _is_lost(self, step: StepId, missing: str | None) -> bool:
        """Whether a part of a result is gone. What was let go is missed when the object `missing` is a part of it; then
        the whole result is forgotten, so that nobody takes the step for done."""
        manifest = self.artifacts.present(step)
        if manifest is None:
            return True
        if missing not in {blob_key(blob.digest) for blob in manifest.let_go}:
            return False
        self.artifacts.forget(step)
        return True

    def _expire_leases(self) -> None:
        if self._deaf:
            return
        self._lost.begin_round()
        with self.store.read() as session:
            expired = expired_ids(session, self.now())
        for step in expired:
            manifest = self.artifacts.manifest(step)
            row = self._row_of(step)
            if row is not None and manifest is None:
                self._expire(row)
            elif row is not None and manifest is not None and self._succeed(step, manifest):
                self.metrics.expired(row.queue, "lost_report")

    def _row_of(self, step: StepId) -> StepRow | None:
        """None when it cannot be read, which stops the plans that need it."""
        try:
            with self.store.read() as session:
                return find_rows(session, [step])[step]
        except UnreadableRow as error:
            self._give_up(error)
            return None

    def _expire(self, row: StepRow) -> None:
        fate: Fate = "lost" if row.started_at else self._fate_in(row.kind, row.version)
        if fate == "unknown":
            return
        now, memory = self.now(), self._memory.get(row.id)
        changed = self._change(
            row.id,
            lambda before: transitions.expire(before, now, self.limits, still_queued=fate == "waits", memory=memory),
        )
        if changed and fate == "lost":
            self.metrics.expired(row.queue, "silent_worker" if row.started_at else "lost_message")

    def _fate_in(self, kind: str, version: int) -> Fate:
        channel = channel_of(kind, version)
        waiting = self.dispatcher.waiting(channel)
        with self.store.read() as session:
            unstarted = unstarted_of(session, kind, version)
        return self._lost.fate(channel, unstarted=unstarted, waiting=waiting, now=self.now())

    def _take_back_unwanted(self) -> None:
        """Steps that only cancelled or failed experiments wanted: queued ones return, running ones are told."""
        with self.store.read() as session:
            unwanted = unwanted_ids(session)
        for step in unwanted:
            self.reports.mark_cancelled(step)
            self._change(step, lambda before: before if before.started_at else transitions.release(before))

    def _register_described(self) -> None:
        for step in DescribedSources(self.store, self.artifacts, self.now).register_all():
            log.warning("result.lost", step=step[:12])
            self._change(step, transitions.forget_result)

    def _hand_out(self) -> None:
        """Nothing while no report can be received: messages would not arrive either, and each try costs an attempt."""
        if self._deaf:
            return
        self.workers = self.presence.live()
        self._note_workers()
        served = _served_by(self.workers)
        self._fail_unserved(served)
        while chosen := self._choose(served):
            for step in chosen:
                if (message := self._lease(step)) is not None:
                    self._send(message)

    def _note_workers(self) -> None:
        """For the api's estimates: when a number has changed, and now and then so that the note does not grow old."""
        now, counted = self.now(), dict(self.live_workers)
        if self._noted is not None and self._noted[0] == counted and now - self._noted[1] < NOTED_EVERY:
            return
        with self.store.write() as session:
            note_live_workers(session, counted, now)
        self._noted = (counted, now)

    def _choose(self, queue_of: Mapping[str, str]) -> list[StepId]:
        """The next steps to hand out, of the channels in `queue_of`; there may be more once these are leased."""
        shares = Shares(self.workers, self.leases_per_worker)
        most = self.leases_per_worker * max(1, len(self.workers))
        with self.store.read() as session:
            for (queue, channel), count in leased_by_channel(session).items():
                for _ in range(count):
                    shares.take(queue, channel)
            ready = first_ready(session, self.now(), shares.with_room(queue_of), most)
        return [step.id for step in ready if shares.take(step.queue, step.channel)]

    def _fail_unserved(self, served: Collection[str]) -> None:
        """Steps fail that neither this release nor a live worker serves, after a while."""
        now = self.now()
        if self._next_look is not None and now < self._next_look:
            return
        self._next_look = now + self.limits.lease / LOOKS_PER_LEASE
        with self.store.read() as session:
            contract_of = {step.id: StoredContract(step.kind, step.version) for step in unserved_steps(session, served)}
        due = self._retirement.due(set(contract_of.values()), now)
        for step, contract in contract_of.items():
            if contract in due:
                self._retire(step, contract)

    def _retire(self, step: StepId, contract: StoredContract) -> None:
        problem, now = retired(contract), self.now()
        self._change(step, lambda before: transitions.give_up(before, problem, now, self.limits))

    def _lease(self, step: StepId) -> StepMessage | None:
        """None when somebody else was faster, or the step cannot be read."""
        try:
            with self.store.write() as session:
                row = lock_step(session, step)
                if row is None or row.state != "waiting":
                    return None
                leased = transitions.lease(to_step(row), self.now(), self.limits)
                save_steps(session, [StepChange(row, leased)], self.now())
                return message_of(row, traceparent_of(session, step))
        except UnreadableRow as error:
            self._give_up(error)
            return None

    def _send(self, message: StepMessage) -> None:
        """After the lease was committed: a message never speaks of a lease that is not there."""
        with self.traces.span(
            f"hand out {message.kind}",
            parent=message.traceparent,
            role="producer",
            step=message.step_id,
            attempt=message.attempt,
        ) as span:
            try:
                self.reports.note_attempt(message.step_id, message.attempt)
                self.dispatcher.send(
                    message.model_copy(update={"traceparent": span.traceparent or message.traceparent})
                )
            except Transient:
                self._change(
                    message.step_id,
                    lambda step: transitions.release(step) if _holds(step, message.attempt) else step,
                )
                raise
        self._handed_out[message.step_id] = self.now()
        log.info("step.sent", step=message.step_id[:12], kind=message.kind, attempt=message.attempt)

    def _compact_histories(self) -> None:
        with self.store.read() as session:
            plans = plans_to_compact(session, self.now())
        for plan in plans:
            with self.store.write() as session:
                compact_history(session, plan, self.now())


def _served_by(workers: Collection[LiveWorker]) -> dict[str, str]:
    """The queue of every channel that this release serves, or one of `workers`, which may be of another."""
    ours = {contract.channel: contract.queue for contract in every_contract()}
    return ours | {channel: worker.queue for worker in workers for channel in worker.channels}


def _needs_results(report: StepReport) -> bool:
    """Whether applying it asks the object store."""
    return isinstance(report, StepSucceeded) or (
        isinstance(report, StepFailed) and report.problem.code in LOST_INPUT_CODES
    )


def _holds(step: Step, attempt: int) -> bool:
    return step.state == "leased" and step.attempt == attempt and step.started_at is None
