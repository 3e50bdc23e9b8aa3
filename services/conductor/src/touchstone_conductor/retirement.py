"""Steps of a contract that nobody serves: after how long they fail, and what the failure says. Pure.

Not the moment they are seen: a flushed Redis knows no worker for a heartbeat, and a pod that is replaced is away for a
while."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from touchstone_contracts.problems import Problem
from touchstone_contracts.steps import CATALOGUE


@dataclass(frozen=True)
class StoredContract:
    """What a stored step asks for; this release may know neither its kind nor its version."""

    kind: str
    version: int

    @property
    def is_earlier(self) -> bool:
        """Or of a later release."""
        return self.kind in CATALOGUE and self.version < CATALOGUE[self.kind].version

    def __str__(self) -> str:
        return f"{self.kind} version {self.version}"


@dataclass
class Retirement:
    patience: timedelta
    """For an earlier version: its workers may be about to come back."""
    rollout: timedelta
    """For what a later release planned: the api may be ahead of its conductor and its workers."""
    _since: dict[StoredContract, datetime] = field(default_factory=dict)

    def due(self, unserved: Collection[StoredContract], now: datetime) -> list[StoredContract]:
        """Those of `unserved` that were so at every look for long enough."""
        self._since = {contract: self._since.get(contract, now) for contract in unserved}
        return [contract for contract, since in self._since.items() if now - since >= self._limit(contract)]

    def _limit(self, contract: StoredContract) -> timedelta:
        return self.patience if contract.is_earlier else self.rollout


def retired(contract: StoredContract) -> Problem:
    """Why a step of `contract` fails, and what to do."""
    detail = (
        f"The step was planned as {contract}. {_why(contract)}, and no live worker serves it. Start a worker of the "
        "release that planned it beside the present ones, then retry the experiment. Or post the experiment again: it "
        "is planned with today's versions and is a new experiment"
    )
    return Problem(title="Contract retired", status=409, code="contract_retired", detail=detail)


def _why(contract: StoredContract) -> str:
    today = CATALOGUE.get(contract.kind)
    if today is None:
        return "This release does not know that kind of step: another release planned it, perhaps before a downgrade"
    if contract.is_earlier:
        return f"This release no longer serves that version (today's is {today.version})"
    return f"That version is newer than this release's ({today.version}): the deployment was probably downgraded"
