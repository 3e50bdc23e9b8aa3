"""Command line: describe an upstream, a target or a data set.

The catalogue on standard output is what `touchstone apply` takes."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from pydantic import ValidationError
from touchstone_contracts.account import MOST_LOSSES
from touchstone_contracts.catalogue import (
    Catalogue,
    ClassLabel,
    Dataset,
    ImageColumns,
    Origin,
    Splits,
    Target,
    TargetSplit,
    Templates,
    Upstream,
)
from touchstone_contracts.class_lists import ClassLine, read_class_list
from touchstone_contracts.locations import LinkChoices
from touchstone_contracts.problems import Invalid
from touchstone_runtime.library import Library
from touchstone_runtime.s3_files import connect_files

from touchstone_retrieval.describe.links import asked_of_links
from touchstone_retrieval.describe.listing import files_at
from touchstone_retrieval.describe.shards import (
    ENDINGS,
    describe_class_folders,
    describe_shards,
    shard_files,
)
from touchstone_retrieval.describe.split_files import describe_files
from touchstone_retrieval.describe.tables import columns_of, named_columns
from touchstone_retrieval.describe.telling import tell_at_terminal
from touchstone_retrieval.describe.torchvision_target import load_published, write_splits
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.locations.connecting import connect_locations
from touchstone_retrieval.settings import RetrievalSettings

SPLITS = ("validation", "test", "train")
FURTHER = "further_tests/"
"""Before the name of a test set, so that none is called as a split."""
TABLES = ("parquet", "links")


def upstream(options: argparse.Namespace, reader: LocationReader) -> Catalogue:
    _require_table(options)
    choices = LinkChoices(embeddings=options.embeddings, uids=options.uids, most_unsafe=options.most_unsafe)
    if choices != LinkChoices() and options.form != "links":
        raise Invalid("--embeddings, --uids and --most-unsafe are of links alone", code="bad_column")
    links, columns = asked_of_links(choices, reader), named_columns(options.column)
    shards = tuple(
        shard
        for location in options.locations
        for shard in describe_shards(options.form, location, reader, columns, links)
    )
    links.tell_absent(tell_at_terminal)
    if not shards:
        raise Invalid(f"no {options.form} below {', '.join(options.locations)}", code="place_missing")
    described = Upstream(
        name=options.name, shards=shards, index_encoder=options.index_encoder, most_losses=options.most_losses
    )
    return Catalogue(upstreams=(described,))


def target(options: argparse.Namespace, reader: LocationReader) -> Catalogue:
    """Classes in the order of their file; a line is the class's folder and, after a tab, its display name."""
    named = {split: getattr(options, split) for split in SPLITS if getattr(options, split)}
    further = dict[str, list[str]]()
    for name, location in options.further_test:
        further.setdefault(f"{FURTHER}{name}", []).append(location)
    found = _labelled(named | further, options, reader)
    splits = {split: found[split] for split in named}
    tests = {name.removeprefix(FURTHER): found[name] for name in further}
    names = [line.display_name for line in _class_lines(options)]
    return _target(options, names, Splits.model_validate(splits | {"further_tests": tests}))


def dataset(options: argparse.Namespace, reader: LocationReader) -> Catalogue:
    """Labelled images for a target that is registered by itself."""
    images = _labelled({"": options.locations}, options, reader)[""]
    described = Dataset(
        name=options.name,
        target=options.target,
        images=images,
        licence=options.licence,
        origin=options.origin,
        made_by=options.made_by,
        trained_on=options.trained_on,
        most_losses=options.most_losses,
    )
    return Catalogue(datasets=(described,))


def _class_lines(options: argparse.Namespace) -> list[ClassLine]:
    if options.classes is None:
        raise Invalid("class folders need --classes, a file that names them in the order of ids", code="no_classes")
    return read_class_list(options.classes)


def _require_table(options: argparse.Namespace) -> None:
    if options.column and options.form not in TABLES:
        raise Invalid(f"--column is of the forms {' and '.join(TABLES)}, not of {options.form}", code="bad_column")


def _labelled(
    splits: Mapping[str, Sequence[str]], options: argparse.Namespace, reader: LocationReader
) -> dict[str, TargetSplit]:
    """`splits`: split -> the locations that are given for it."""
    _require_table(options)
    if options.form == "class_folders":
        folders, roots = [line.folder for line in _class_lines(options)], {name: _only(splits[name]) for name in splits}
        return {split: describe_class_folders(root, folders, reader) for split, root in roots.items()}
    lines = read_class_list(options.classes) if options.classes and options.form == "parquet" else []
    files = {split: _files_at(given, options.form, reader) for split, given in splits.items()}
    columns = columns_of(ImageColumns, named_columns(options.column))
    return describe_files(options.form, files, lines, columns, reader, tell_at_terminal)[0]


def _only(given: Sequence[str]) -> str:
    if len(given) > 1:
        raise Invalid(f"class folders of one split lie in one folder, not in {', '.join(given)}", code="unknown_layout")
    return given[0]


def _files_at(given: Sequence[str], form: str, reader: LocationReader) -> list[str]:
    """The files of every location, in the order given: the file itself, or the files of the form below the location or
    matching its pattern, sorted by name."""
    found = list[str]()
    for location in given:
        there = [file.location for file in files_at(location, reader)]
        shards = there if there == [location] else shard_files(form, there, location)
        if not shards:
            raise Invalid(f"no {form} is at {location}, only such as {there[0]}", code="place_missing")
        found += shards
    return list(dict.fromkeys(found))


def torchvision(options: argparse.Namespace, reader: LocationReader) -> Catalogue:
    published = load_published(options.dataset, options.root, options.download)
    splits = write_splits(published, options.name, reader.library.root, options.validation_per_class)
    return _target(options, published.class_names, splits)


def _target(options: argparse.Namespace, names: Sequence[str], splits: Splits) -> Catalogue:
    described = Target(
        name=options.name,
        classes=tuple(ClassLabel(id=number, display_name=name) for number, name in enumerate(names)),
        templates=_templates(options),
        splits=splits,
        most_losses=options.most_losses,
    )
    return Catalogue(targets=(described,))


def _templates(options: argparse.Namespace) -> Templates:
    if options.templates:
        return Templates.model_validate_json(options.templates.read_bytes())
    used = tuple(options.template)
    return Templates(retrieval=used, filter=used, zero_shot=used, synthesis=used)


def reader_of(settings: RetrievalSettings) -> LocationReader:
    has_key = settings.s3_credentials == "machine" or settings.s3_secret_key.get_secret_value() != ""
    s3 = connect_files(settings) if has_key else None
    return LocationReader(Library(settings.library, settings.allowed_sources), s3, connect_locations(settings))


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(prog="python -m touchstone_retrieval.describe", description=__doc__)
    kinds = command.add_subparsers(required=True)
    an_upstream = kinds.add_parser("upstream", help="an upstream: every shard at or below the locations")
    an_upstream.set_defaults(describe=upstream)
    an_upstream.add_argument("name")
    an_upstream.add_argument("locations", nargs="+", help="library:<path> or s3://<bucket>/<prefix>")
    an_upstream.add_argument("--form", required=True, choices=[*ENDINGS, "image_folder"])
    an_upstream.add_argument("--index-encoder", required=True, help="a registered encoder")
    an_upstream.add_argument(
        "--most-unsafe", type=float, help="of links: rows whose punsafe or nsfw is higher are left out, from 0 to 1"
    )
    an_upstream.add_argument(
        "--embeddings", help="of links with .npz files: which arrays, as l14 for l14_img and l14_txt"
    )
    an_upstream.add_argument("--uids", metavar="LOCATION", help="of links: a list of the uids whose rows are taken")
    a_target = kinds.add_parser("target", help="a target: where the files of each split are")
    a_target.set_defaults(describe=target)
    a_target.add_argument("--form", required=True, choices=["class_folders", "webdataset", "parquet"])
    a_target.add_argument("--classes", required=True, type=Path, help="file: a line per class, in the order of ids")
    for split in SPLITS:
        a_target.add_argument(
            f"--{split}",
            required=split != "train",
            action="append",
            metavar="LOCATION",
            help="a file, a folder of files or a pattern, as library:<path>/train-*.parquet; may repeat",
        )
    a_target.add_argument(
        "--further-test",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "LOCATION"),
        help="the same classes in another domain; may repeat, with one name for the files of one test set",
    )
    given = kinds.add_parser("dataset", help="labelled images for an arm of kind given")
    given.set_defaults(describe=dataset)
    given.add_argument("name")
    given.add_argument("locations", nargs="+", help="a file, a folder of files or a pattern, as library:<path>/*.tar")
    given.add_argument("--target", required=True, help="a registered target, whose class ids the images carry")
    given.add_argument("--form", required=True, choices=["class_folders", "webdataset", "parquet"])
    given.add_argument("--classes", type=Path, help="file: a line per class, in the order of ids")
    given.add_argument("--licence", default="", help="e.g. CC-BY-4.0")
    given.add_argument("--origin", default="unknown", choices=get_args(Origin), help="what the images are")
    given.add_argument("--made-by", default="", help="of synthetic images: the generator's name and version")
    given.add_argument("--trained-on", default="", help="of synthetic images: what that generator was trained on")
    a_dataset = kinds.add_parser("torchvision", help="a target from a data set of torchvision")
    a_dataset.set_defaults(describe=torchvision)
    a_dataset.add_argument("--dataset", required=True, help="its name in torchvision.datasets, e.g. FashionMNIST")
    a_dataset.add_argument("--root", required=True, type=Path, help="where torchvision keeps its files")
    a_dataset.add_argument("--download", action="store_true", help="let torchvision fetch what is not there")
    a_dataset.add_argument("--validation-per-class", type=int, default=10, help="carved from the training part")
    for tables in (an_upstream, a_target, given):
        tables.add_argument(
            "--column",
            action="append",
            default=[],
            metavar="WHAT=NAME",
            help="of tables: what a column holds and its name, as image=img; may repeat",
        )
    for kind in (an_upstream, a_target, given, a_dataset):
        kind.add_argument(
            "--most-losses",
            type=float,
            default=MOST_LOSSES,
            metavar="SHARE",
            help="of the images of a file that may be refused before its ingest stops (default: %(default)s)",
        )
    for one in (a_target, a_dataset):
        one.add_argument("name")
        which = one.add_mutually_exclusive_group(required=True)
        which.add_argument("--template", action="append", help="a sentence with {name}; may repeat")
        which.add_argument("--templates", type=Path, help="JSON file: sentences by purpose, as a target has them")
    return command


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    try:
        catalogue = options.describe(options, reader_of(RetrievalSettings()))
    except Invalid as problem:
        sys.exit(f"{problem.code}: {problem.detail}")
    except ValidationError as error:
        sys.exit(f"the catalogue refuses this: {error}")
    print(catalogue.model_dump_json(indent=1, exclude_none=True))


if __name__ == "__main__":
    main()
