"""An installation as an earlier release left it, opened in a folder of its own; see tests/upgrade/installation."""

import json
import math
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.memory_services import memory_services
from touchstone_api.bootstrap import Services
from touchstone_contracts.problems import UNTYPED
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects

SAID_ANEW = {"headline", "would_decide"}
"""Sentences of a verdict that later releases word in another way; what they say stands in the fields beside them."""
STORED = Path(__file__).parent.parent / "upgrade" / "installation"


@dataclass(frozen=True)
class EarlierInstallation:
    folder: Path
    """Holds the database, a copy that may be changed."""
    objects: MemoryObjects
    """The whole bucket."""
    library: Path
    """The upstream, the targets and the models that the catalogue registers."""
    expected: dict[str, Any]
    """expected.json: what the earlier release answered."""

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.folder / 'touchstone.db'}"

    def experiment(self, which: str) -> str:
        """The id of the `finished`, the `half_finished` or the `cancelled` experiment."""
        return str(self.expected["experiments"][which])

    def services(self) -> Services:
        """The api's services over it; brings the database to today's schema."""
        return memory_services(self.folder, Artifacts(self.objects))


def open_earlier_installation(folder: Path, stored: Path = STORED) -> EarlierInstallation:
    """Copies what is `stored` into `folder` and its objects into memory."""
    shutil.copyfile(stored / "database.sqlite", folder / "touchstone.db")
    with tarfile.open(stored / "library.tar.xz") as archive:
        archive.extractall(folder / "library", filter="data")
    return EarlierInstallation(
        folder=folder,
        objects=_stored_objects(stored / "objects.tar.xz"),
        library=folder / "library",
        expected=json.loads((stored / "expected.json").read_text()),
    )


def _stored_objects(path: Path) -> MemoryObjects:
    objects = MemoryObjects()
    with tarfile.open(path) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            assert stream is not None, f"{member.name} is no object"
            objects.put(member.name, stream.read())
    return objects


def contradictions(expected: Any, answered: Any, at: str = "") -> list[str]:
    """Where `answered` says something else than `expected`, by JSON pointer.

    Fields that only `answered` has are no contradiction, because a later release may say more, nor are the words of
    SAID_ANEW and the `type` of problems, which led nowhere. Numbers may differ in the tenth digit, because statistics
    are computed anew, perhaps on another processor."""
    if isinstance(expected, dict) and isinstance(answered, dict):
        lacking = [f"{at}/{name} is missing" for name in expected if name not in answered]
        both = [
            (name, expected[name], answered[name]) for name in expected if name in answered and name not in SAID_ANEW
        ]
        # A step has its inputs in no order.
        both = [(name, sorted(was), sorted(now)) if name == "inputs" else (name, was, now) for name, was, now in both]
        return lacking + [each for name, was, now in both for each in contradictions(was, now, f"{at}/{name}")]
    if expected == UNTYPED and at.endswith("/type"):
        return []
    if isinstance(expected, list) and isinstance(answered, list) and len(expected) == len(answered):
        pairs = enumerate(zip(expected, answered, strict=True))
        return [each for position, (was, now) in pairs for each in contradictions(was, now, f"{at}/{position}")]
    if isinstance(expected, float) and isinstance(answered, int | float):
        same = math.isclose(expected, answered, rel_tol=1e-9, abs_tol=1e-9)
    else:
        same = expected == answered
    return [] if same else [f"{at} is {answered!r}, was {expected!r}"]
