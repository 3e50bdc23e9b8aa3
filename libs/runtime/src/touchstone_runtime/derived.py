"""What follows from stored objects and is kept in the object store because others will ask for it.

It may be removed at any time: then it is computed again."""

from touchstone_contracts.keys import derived_key
from touchstone_contracts.problems import Transient
from touchstone_contracts.values import Digest

from touchstone_runtime.logs import get_logger
from touchstone_runtime.objects import ObjectStore
from touchstone_runtime.sealing import read_sealed, sealed

log = get_logger(__name__)


class DerivedParts:
    """One thing in parts, numbered from 0, each with its digest before it."""

    def __init__(self, objects: ObjectStore, name: Digest) -> None:
        """`name`: of everything that it follows from."""
        self._objects, self._name = objects, name

    def save(self, part: int, data: bytes) -> None:
        """What cannot be saved is computed again by the next who needs it."""
        try:
            self._objects.put(derived_key(self._name, part), sealed(data))
        except Transient as error:
            log.warning("derived.lost", name=self._name, part=part, error=str(error))

    def load(self, part: int) -> bytes | None:
        """None where it is not there, or damaged. Raises Transient."""
        return read_sealed(self._objects, derived_key(self._name, part))
