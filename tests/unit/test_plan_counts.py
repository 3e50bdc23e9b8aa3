"""The phase and the counts of a plan are columns: whatever happens, they say what a fresh count of its steps says."""

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from support.many_steps import independent_steps
from support.memory_services import empty_manifest
from support.plan_columns import check_plan_columns
from touchstone_contracts.problems import Problem
from touchstone_planning import transitions
from touchstone_planning.state import Step
from touchstone_planning.transitions import Limits
from touchstone_store.database import Store, open_store
from touchstone_store.plans import (
    StepChange,
    Survey,
    cancel_plan,
    create_plan,
    fail_unreadable,
    retry_plan,
    save_steps,
)
from touchstone_store.steps import find_rows, to_step
from touchstone_store.tables import Base

STEPS = independent_steps(6)
PLANS = ("upstream/a", "exp_b", "exp_c", "exp_d")
NEEDS = {"exp_c": "upstream/a", "exp_d": "upstream/a"}
LIMITS = Limits()
BROKE = Problem(title="Broken", code="broken")

Positions = tuple[int, ...]
MOVES = ("lease", "start", "fail", "fail for good", "succeed", "release", "lose")
ACTIONS = (*MOVES, "create", "cancel", "retry", "make unreadable")


@dataclass
class World:
    """What the api and the conductor do to the store, in any order."""

    store: Store
    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    plans: list[str] = field(default_factory=list)

    def act(self, name: str, number: int, positions: Positions) -> None:
        self.time += timedelta(seconds=5)
        plan = PLANS[number % len(PLANS)]
        if name == "create":
            self.create(plan, positions)
        elif name in ("cancel", "retry"):
            if plan in self.plans:
                with self.store.write() as session:
                    (cancel_plan if name == "cancel" else retry_plan)(session, plan, self.time)
        elif name == "make unreadable":
            with self.store.write() as session:
                fail_unreadable(session, STEPS[number].id, BROKE, self.time)
        else:
            self.move(name, positions)

    def create(self, plan: str, positions: Positions) -> None:
        """With the steps at `positions`; the object store has every third of them, and lost the others it had."""
        needs = NEEDS.get(plan)
        if plan in self.plans or (needs and needs not in self.plans):
            return
        self.plans.append(plan)
        steps = [STEPS[position] for position in positions]
        verified = {step.id: empty_manifest(step.id, step.kind) for step in steps if STEPS.index(step) % 3 == 0}
        lost = {step.id for step in steps if STEPS.index(step) % 3 == 1}
        with self.store.write() as session:
            create_plan(session, plan, steps, Survey(verified, lost), self.time, needs=needs)

    def move(self, name: str, positions: Positions) -> None:
        with self.store.write() as session:
            rows = find_rows(session, [STEPS[position].id for position in positions], lock=True)
            changes = [StepChange(row, self.moved(name, to_step(row)), ("test.moved", {})) for row in rows.values()]
            save_steps(session, changes, self.time)

    def moved(self, name: str, step: Step) -> Step:
        """The step itself where it cannot happen to it."""
        if name == "lease" and step.state == "waiting":
            return transitions.lease(step, self.time, LIMITS)
        if name == "succeed":
            return transitions.succeed(step, self.time, empty_manifest(step.id, "write_prompts"))
        if name == "lose" and step.state == "succeeded":
            return transitions.forget_result(step)
        if step.state == "leased" and name in ("fail", "fail for good"):
            return transitions.fail(step, BROKE, self.time, LIMITS, retryable=name == "fail")
        return transitions.release(step) if step.state == "leased" and name == "release" else step


def some_positions(random: Random) -> Positions:
    return tuple(sorted(random.sample(range(len(STEPS)), random.randrange(1, 4))))


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), changes=st.integers(1, 120))
def test_after_any_changes_the_columns_say_what_the_rows_say(seed: int, changes: int) -> None:
    random, looked_at = Random(seed), 0
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder) / 'test.db'}")
        Base.metadata.create_all(store.writer)
        world = World(store)
        world.create(PLANS[0], some_positions(random))
        for _ in range(changes):
            world.act(random.choice(ACTIONS), random.randrange(len(STEPS)), some_positions(random))
            looked_at += check_plan_columns(store)
        store.close()
    assert looked_at >= changes
