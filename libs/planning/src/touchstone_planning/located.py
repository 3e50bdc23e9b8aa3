"""From what somebody asked for by its location to the step that looks there, and from what that found to the document
that is registered."""

from collections.abc import Sequence

from pydantic import ValidationError
from touchstone_contracts.catalogue import ClassLabel, Dataset, Splits, Target, Templates, Upstream
from touchstone_contracts.locations import DEFAULT_TEMPLATE, Located, LocatedDataset, LocatedTarget, LocatedUpstream
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import DescribeSource, SourceDescribed

ALL = ""
"""Used instead of a split's name where a location holds everything."""


def describe_request(located: Located, asked: str, classes: Sequence[str] = ()) -> DescribeSource:
    """`asked`: see DescribeSource. `classes`: of a data set, the display names of its target's classes."""
    columns = {} if located.columns is None else located.columns.model_dump(exclude_none=True)
    if isinstance(located, LocatedUpstream):
        return DescribeSource(
            form="upstream",
            locations={ALL: located.location},
            layout=located.layout,
            columns=columns,
            links=located.links,
            asked=asked,
        )
    if isinstance(located, LocatedDataset):
        return DescribeSource(
            form="dataset",
            locations={ALL: located.location},
            layout=located.layout,
            classes=tuple(classes),
            columns=columns,
            asked=asked,
        )
    return DescribeSource(
        form="target",
        locations=_splits(located),
        layout=located.layout,
        classes=located.classes or (),
        columns=columns,
        asked=asked,
    )


def _splits(located: LocatedTarget) -> dict[str, tuple[str, ...]]:
    if located.splits is None:
        return {ALL: located.location or ()}
    return {name: locations for name, locations in located.splits if locations is not None}


def document_of(located: Located, found: SourceDescribed) -> Upstream | Target | Dataset:
    """Raises Invalid where what was found makes none."""
    try:
        if isinstance(located, LocatedUpstream):
            return _upstream(located, found)
        return _dataset(located, found) if isinstance(located, LocatedDataset) else _target(located, found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = "/".join(map(str, first["loc"]))
        raise Invalid(
            f"what was found makes no {type(located).__name__}: {field}: {first['msg']}", code="invalid_document"
        ) from None


def _upstream(located: LocatedUpstream, found: SourceDescribed) -> Upstream:
    if located.index_encoder is None:
        raise Invalid("the upstream names no index encoder", code="unknown_name")
    return Upstream(
        name=located.name,
        shards=found.shards,
        index_encoder=located.index_encoder,
        most_losses=located.most_losses,
        placeholder_links=located.placeholder_links,
        licence=located.licence,
        description=located.description,
    )


def _target(located: LocatedTarget, found: SourceDescribed) -> Target:
    return Target(
        name=located.name,
        classes=tuple(ClassLabel(id=number, display_name=name) for number, name in enumerate(found.classes)),
        templates=located.templates or _default_templates(),
        splits=Splits.model_validate({name: split.model_dump() for name, split in found.splits.items()}),
        most_losses=located.most_losses,
        description=located.description,
    )


def _dataset(located: LocatedDataset, found: SourceDescribed) -> Dataset:
    return Dataset(
        name=located.name,
        target=located.target,
        images=found.splits[ALL],
        most_losses=located.most_losses,
        licence=located.licence,
        description=located.description,
        origin=located.origin,
        made_by=located.made_by,
        trained_on=located.trained_on,
    )


def _default_templates() -> Templates:
    used = (DEFAULT_TEMPLATE,)
    return Templates(retrieval=used, filter=used, zero_shot=used, synthesis=used)
