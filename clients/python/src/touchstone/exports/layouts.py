"""How a training set lies in a folder: for Hugging Face datasets, for WebDataset readers, for FiftyOne.

Every layout is written image by image. `close` ends the files that are open."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, get_args

from touchstone_contracts.media_types import SUFFIXES, media_type
from touchstone_contracts.views import TrainingImage

LayoutName = Literal["hf-dataset", "webdataset", "fiftyone"]
IMAGES_OF_A_FOLDER = 1000
"""Hugging Face's hub refuses folders of more than 10,000 files."""
SHARD_IMAGES = 10_000
SHARD_BYTES = 2**30


class Layout(Protocol):
    def add(self, number: int, image: TrainingImage, content: bytes) -> None:
        """The next image; `number` counts from 0 in the order of the training set."""

    def close(self) -> None: ...


def key_of(number: int) -> str:
    return f"{number:08d}"


def suffix_of(content: bytes) -> str:
    """With its dot."""
    return SUFFIXES[media_type(content)]


def record_of(image: TrainingImage) -> dict[str, Any]:
    """Label, caption, provenance and scores, under the same names in every layout."""
    facts = image.model_dump(mode="json", exclude={"url", "class_id"})
    return {"label": image.class_id, **facts}


class ImageFolder:
    """`train/0000/00000000.png` and so on, with one line for each in `train/metadata.jsonl`."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder = folder / "train"
        self._folder.mkdir()
        self._lines = _text_file(self._folder / "metadata.jsonl")

    def add(self, number: int, image: TrainingImage, content: bytes) -> None:
        file = Path(f"{number // IMAGES_OF_A_FOLDER:04d}") / f"{key_of(number)}{suffix_of(content)}"
        path = self._folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        _add_line(self._lines, {"file_name": file.as_posix(), **record_of(image)})

    def close(self) -> None:
        self._lines.close()


class TarShards:
    """`train-000000.tar` and so on; each image is `KEY.png`, its class id `KEY.cls`, its caption `KEY.txt` and all that
    is known of it `KEY.json`."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder = folder
        self._shards = 0
        self._images = self._bytes = 0
        self._shard = self._next_shard()

    def add(self, number: int, image: TrainingImage, content: bytes) -> None:
        if self._images == SHARD_IMAGES or (self._images and self._bytes + len(content) > SHARD_BYTES):
            self._shard.close()
            self._shard = self._next_shard()
        key = key_of(number)
        self._write(f"{key}{suffix_of(content)}", content)
        self._write(f"{key}.cls", str(image.class_id).encode())
        self._write(f"{key}.txt", image.caption.encode())
        self._write(f"{key}.json", json.dumps(record_of(image), ensure_ascii=False).encode())
        self._images += 1
        self._bytes += len(content)

    def close(self) -> None:
        self._shard.close()

    def _next_shard(self) -> tarfile.TarFile:
        path = self._folder / f"train-{self._shards:06d}.tar"
        self._shards += 1
        self._images = self._bytes = 0
        return tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)

    def _write(self, name: str, content: bytes) -> None:
        """Without time or owner, so that the same training set gives the same bytes."""
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._shard.addfile(member, io.BytesIO(content))


class FiftyOneClassification:
    """FiftyOneImageClassificationDataset: `data/00000000.png` and so on, class names and labels in `labels.json`; one
    line for each image in `provenance.jsonl`."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._data = folder / "data"
        self._data.mkdir()
        self._labels = _text_file(folder / "labels.json")
        self._labels.write(f'{{"classes": {json.dumps(list(classes), ensure_ascii=False)}, "labels": {{')
        self._lines = _text_file(folder / "provenance.jsonl")

    def add(self, number: int, image: TrainingImage, content: bytes) -> None:
        key = key_of(number)
        (self._data / f"{key}{suffix_of(content)}").write_bytes(content)
        self._labels.write(f'{", " if number else ""}"{key}": {image.class_id}')
        _add_line(self._lines, {"key": key, **record_of(image)})

    def close(self) -> None:
        self._labels.write("}}\n")
        self._labels.close()
        self._lines.close()


def _text_file(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="\n")


def _add_line(lines: TextIO, record: dict[str, Any]) -> None:
    lines.write(json.dumps(record, ensure_ascii=False) + "\n")


LAYOUTS: dict[str, Callable[[Path, Sequence[str]], Layout]] = dict(
    zip(get_args(LayoutName), (ImageFolder, TarShards, FiftyOneClassification), strict=True)
)
