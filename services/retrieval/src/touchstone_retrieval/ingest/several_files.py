"""The files of one split as one source: read one after the other, each here only while it is read."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from touchstone_contracts.catalogue import ParquetFile, SourceFiles, TarShard

from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.source import ImageSource, SourceKind, SourceRow, UnreadableSource

DIGEST_CHARACTERS = 12
"""Of the digest of a file before a key that an earlier file has, too."""
REPEATED_KEY = "repeated_key"

OpenFile = Callable[[ParquetFile | TarShard], AbstractContextManager[ImageSource]]
Rows = Generator[SourceRow, None, None]


@dataclass
class SeveralFiles:
    """Files are checked when their turn comes: one that is not what was registered ends the reading.

    Their keys differ. One that an earlier file has, too, begins with the digest of its file and is noted."""

    source: SourceFiles
    open_file: OpenFile
    unused: Reasons = field(default_factory=Reasons)
    """Of the files that have been read to their end."""
    kind: SourceKind = "target"
    _reading: Rows | None = None

    @property
    def count(self) -> int:
        return self.source.images

    def rows(self) -> Iterator[SourceRow]:
        self._reading = self._rows()
        return self._reading

    def close(self) -> None:
        """Lets go of the file that is being read."""
        if self._reading is not None:
            self._reading.close()

    def _rows(self) -> Rows:
        keys = set[str]()
        names = file_names([file.location for file in self.source.files])
        for file, name in zip(self.source.files, names, strict=True):
            with self.open_file(self._clustered(file)) as opened:
                if opened.kind != self.kind:
                    raise UnreadableSource(f"{file.location} has no labels", code="missing_columns")
                here = set[str]()
                for row in opened.rows():
                    named = _named(row, file, name, keys)
                    here.add(named.key)
                    yield named
                keys |= here
                self.unused.take(opened.unused, f"{name}/")

    def _clustered(self, file: ParquetFile | TarShard) -> ParquetFile | TarShard:
        """Which images belong together stands in a column of each file, where it stands in one."""
        return file.model_copy(update={"cluster": self.source.cluster}) if isinstance(file, ParquetFile) else file


def _named(row: SourceRow, file: ParquetFile | TarShard, name: str, earlier: set[str]) -> SourceRow:
    """`earlier`: keys of the files before."""
    called = f"{name}/{row.key}"
    if row.key not in earlier:
        return replace(row, name=called)
    return replace(
        row,
        key=f"{file.digest[:DIGEST_CHARACTERS]}-{row.key}",
        name=called,
        notes=row.notes if row.image is None else (*row.notes, REPEATED_KEY),
    )


def file_names(locations: Sequence[str]) -> list[str]:
    """The locations without the folders that all of them have in common."""
    parts = [location.removeprefix("library:").split("/") for location in locations]
    common = 0
    while len({tuple(each[: common + 1]) for each in parts}) == 1 and all(len(each) > common + 1 for each in parts):
        common += 1
    return ["/".join(each[common:]) for each in parts]
