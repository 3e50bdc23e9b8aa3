"""Writing an arm's training set into a folder, image by image."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import in_words
from touchstone_contracts.values import Digest
from touchstone_contracts.views import ExperimentManifest, TrainingImage, TrainingSetView

from touchstone.client import Client
from touchstone.downloads import whole_folder
from touchstone.errors import NotExported, UnknownName
from touchstone.exports.card import Written, data_card
from touchstone.exports.layouts import LAYOUTS, Layout, LayoutName
from touchstone.names import one_of

READERS = 8
"""Images that are asked for at the same time."""
HELD = 32
"""Images in memory at most."""

Watcher = Callable[[int, int], None]
"""Told (images written, images in all)."""


def ignore_progress(done: int, total: int) -> None:
    """For callers who show no progress."""


@dataclass(frozen=True)
class Exported:
    """A training set that lies in a folder."""

    folder: Path
    layout: LayoutName
    images: int
    digest: Digest
    """Of the ids and class ids of its images, in their order."""
    trained_on: Digest | None
    """The digest that the run recorded, where it has been tested. Another one than `digest`: images have gone since, as
    after a takedown."""


def export_training_set(
    client: Client,
    experiment: str,
    arm: str,
    folder: Path | str,
    *,
    to: LayoutName = "hf-dataset",
    target: str | None = None,
    size: int | None = None,
    seed: int | None = None,
    watcher: Watcher = ignore_progress,
) -> Exported:
    """Writes what an arm trains on, as an encoder sees it, with labels, captions, provenance, scores and a data card.

    `experiment` is an id or a name. With `size` it is the training set of that size and `seed` (left out: the first),
    without one all that curation kept. The folder is new or empty, and appears when everything is in it. Raises
    UnknownName where the experiment has no such arm, size, seed or target, NotExported where the folder cannot be
    written or has nothing to hold, Conflict while the arm is not curated.

    >>> touchstone.export_training_set(client, "quick look", "retrieved", "flags", size=240).images
    240
    """
    one_of("layout", to, LAYOUTS)
    folder = Path(folder).expanduser().absolute()
    detail = client.experiment(client.find_id(experiment))
    spec = detail.readable_spec
    one_of("arm that trains", arm, [each.name for each in spec.training_arms])
    if target is not None:
        one_of("target", target, spec.targets)
    _require_known("size", size, sorted(spec.sizes))
    _require_known("seed", seed, spec.seeds)
    held = client.training_set(detail.id, arm, target, size=size, seed=seed)
    if not held.images:
        raise NotExported(f"curation kept no image of arm {arm!r} at target {held.target!r}")
    manifest = client.manifest(detail.id)
    classes = class_names(manifest, held.target)
    with whole_folder(folder) as written:
        with closing(LAYOUTS[to](written, classes)) as layout:
            kinds = _write_images(client, detail.id, held, layout, watcher)
        if client.training_set(detail.id, arm, held.target, size=size, seed=seed) != held:
            raise NotExported("the training set changed while it was exported: export it again")
        card = Written(
            experiment=detail.id,
            manifest=manifest,
            training_set=held,
            classes=classes,
            layout=to,
            folder=folder.name,
            shards=len(list(written.glob("*.tar"))),
            images_by_kind=kinds,
        )
        (written / "README.md").write_text(data_card(card), encoding="utf-8")
    return Exported(folder, to, held.images, held.digest, held.trained_on)


def _require_known(kind: str, value: int | None, known: Sequence[int]) -> None:
    """Raises UnknownName, which lists what there is: the nearest number is seldom the one that was meant."""
    if value is not None and value not in known:
        there = in_words([str(each) for each in known], "and")
        raise UnknownName(f"the experiment has no {kind} {value}; there {'is' if len(known) == 1 else 'are'} {there}")


def _write_images(
    client: Client, experiment: str, held: TrainingSetView, layout: Layout, watcher: Watcher
) -> Counter[str]:
    """How many there are of each kind of source. Raises NotExported."""
    kinds = Counter[str]()
    images = client.training_images(experiment, held.arm, held.target, size=held.size, seed=held.seed)
    for number, (image, content) in enumerate(_fetched(client, images)):
        if sha256(content) != image.id:
            raise NotExported(f"image {image.id} arrived with other bytes than its id says: export it again")
        layout.add(number, image, content)
        kinds[image.source_kind] += 1
        watcher(number + 1, held.images)
    return kinds


def _fetched(client: Client, images: Iterator[TrainingImage]) -> Iterator[tuple[TrainingImage, bytes]]:
    with ThreadPoolExecutor(READERS) as readers:
        while some := list(islice(images, HELD)):
            yield from zip(some, readers.map(client.image, some), strict=True)


def class_names(manifest: ExperimentManifest, target: str) -> list[str]:
    """Display names in the order of class ids."""
    return [label.display_name for each in manifest.targets if each.name == target for label in each.classes]
