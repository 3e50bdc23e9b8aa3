"""Counts what becomes of each image of a source, and says when too many are refused."""

import math
from collections.abc import Iterable

from touchstone_contracts.account import Account, joined
from touchstone_contracts.problems import Invalid

from touchstone_retrieval.ingest.reasons import Reasons


class Tally:
    def __init__(self) -> None:
        self.seen = self.taken = 0
        self._refused, self._notes = Reasons(), Reasons()

    def add(self, name: str, reason: str, notes: Iterable[str]) -> None:
        """The next image of the source; `reason`: why it is refused, or empty. One without a name is called by its row,
        from 0."""
        name = name or f"row {self.seen}"
        self.seen += 1
        if reason:
            self._refused.add(reason, name)
        else:
            self.taken += 1
        for note in notes:
            self._notes.add(note, name)

    def account(self, unused: Reasons) -> Account:
        """`unused`: what the source holds beside its images."""
        here = Account(seen=self.seen, taken=self.taken, refused=self._refused.named(), notes=self._notes.named())
        return joined((here, Account(notes=unused.named())))


def require_few_losses(account: Account, most_losses: float, location: str) -> None:
    """Raises Invalid with the account when more than the share `most_losses` of the images there was refused."""
    share = account.losses / max(account.seen, 1)
    if share > most_losses:
        needed = math.ceil(100 * share) / 100
        raise Invalid(
            f"{location}: {account.refusals}. That is {100 * share:.3g} % of its images, and at most "
            f"{100 * most_losses:.3g} % may be refused. Mend the source and describe it again; or, to go on without "
            f'these images, register it under another name with "most_losses": {needed:g} or more',
            code="too_many_losses",
        )
