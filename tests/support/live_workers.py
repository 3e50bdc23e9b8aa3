"""Workers as they announce themselves, for tests of those who count them."""

from touchstone_contracts.messages import LiveWorker
from touchstone_contracts.steps import served_by


def live_worker(queue: str, name: str, channels: tuple[str, ...] | None = None) -> LiveWorker:
    """Serves what this release serves, unless `channels` are given."""
    served = tuple(contract.channel for contract in served_by(queue))
    return LiveWorker(name=name, queue=queue, channels=served if channels is None else channels)
