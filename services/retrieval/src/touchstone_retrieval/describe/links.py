"""Describing tables of links."""

from dataclasses import dataclass, field

from touchstone_contracts.catalogue import LinkColumns, LinkTable, UidList
from touchstone_contracts.locations import LinkChoices
from touchstone_contracts.problems import Invalid
from touchstone_runtime.digests import file_digest

from touchstone_retrieval.describe.embeddings_beside import embeddings_beside
from touchstone_retrieval.describe.listing import files_at
from touchstone_retrieval.describe.tables import some
from touchstone_retrieval.describe.telling import Tell
from touchstone_retrieval.ingest.link_files import open_links
from touchstone_retrieval.ingest.link_table import require_columns
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.uid_lists import NamedInTables


@dataclass
class AskedOfLinks:
    """What is taken of each table of an upstream, and what the tables so far lacked."""

    choices: LinkChoices = field(default_factory=LinkChoices)
    uids: UidList | None = None
    named: NamedInTables | None = None
    """Which uids were in some table."""
    without: list[str] = field(default_factory=list)
    """Tables without embeddings of their images."""

    def tell_absent(self, tell: Tell) -> None:
        """Once every table has been described."""
        if self.without:
            tell(
                f"{len(self.without)} tables, such as {self.without[0]}, have no embeddings of images beside them: "
                "images can be found by captions alone"
            )
        if self.uids is not None and self.named is not None and self.named.absent:
            tell(f"{self.named.absent:,} of {self.named.count:,} uids of {self.uids.location} are in no table")


def asked_of_links(choices: LinkChoices, reader: LocationReader) -> AskedOfLinks:
    """Raises Invalid where the list of uids is not one file, UnreadableSource where it is none."""
    if choices.uids is None:
        return AskedOfLinks(choices)
    files = files_at(choices.uids, reader)
    if len(files) != 1:
        raise Invalid(f"{choices.uids} is {len(files)} files; a list of uids must be one", code="not_one_file")
    location = files[0].location
    with reader.file(location) as path:
        return AskedOfLinks(
            choices, UidList(location=location, digest=file_digest(path)), NamedInTables(path, location)
        )


def describe_links(
    location: str,
    reader: LocationReader,
    columns: LinkColumns | None = None,
    asked: AskedOfLinks | None = None,
) -> LinkTable:
    """A table with the embeddings beside it, if there are any: `img_emb_<n>.npy` and `text_emb_<n>.npy` of
    `metadata_<n>.parquet`, beside it or in folders of clip-retrieval's names; or `<name>.npz` of `<name>.parquet`, as
    DataComp has them.

    Raises UnreadableSource when a column is missing, EmptyShard when it holds no row, Invalid as embeddings_beside."""
    columns, asked = columns or LinkColumns(), asked or AskedOfLinks()
    most_unsafe = asked.choices.most_unsafe
    with reader.file(location) as path:
        table, digest = open_links(path, location, columns), file_digest(path)
        rows = some(location, table.count)
        require_columns(table, location, unsafe=most_unsafe is not None, uid=asked.uids is not None)
        if asked.named is not None:
            asked.named.add(table)
    images, captions = embeddings_beside(location, reader, asked.choices.embeddings)
    if images is None:
        asked.without.append(location)
    return LinkTable(
        location=location,
        digest=digest,
        images=rows,
        image_embeddings=images,
        caption_embeddings=captions,
        columns=columns,
        most_unsafe=most_unsafe,
        uids=asked.uids,
    )
