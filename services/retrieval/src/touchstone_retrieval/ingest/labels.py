"""From what a row calls its class to the id of the class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from touchstone_contracts.catalogue import ParquetFile

from touchstone_retrieval.ingest.captions import composed, parsed_json

MISSING_LABEL, UNKNOWN_CLASS, SEVERAL_LABELS = "missing_label", "unknown_class", "several_labels"


@dataclass(frozen=True)
class Labels:
    ids: Mapping[str, int]
    """What the registration calls each class -> its id; empty where numbers are ids."""
    classes: int | None
    """How many there may be; None: not said."""
    names: Sequence[str] = ()
    """What numbers stand for, where the file says it."""

    def class_id(self, value: object) -> int | str:
        """The id, or why there is none. A list may hold one label."""
        if isinstance(value, list):
            return self.class_id(value[0]) if len(value) == 1 else SEVERAL_LABELS if value else MISSING_LABEL
        if value is None or value != value or value == "":
            return MISSING_LABEL
        number = _number(value)
        if self.ids:
            number = self.ids.get(self._called(value, number))
        if number is None or number < 0 or (self.classes is not None and number >= self.classes):
            return UNKNOWN_CLASS
        return number

    def _called(self, value: object, number: int | None) -> str:
        if number is None or isinstance(value, str):
            return plain_label(value)
        if not self.names:
            return str(number)
        return plain_label(self.names[number]) if 0 <= number < len(self.names) else ""


def labels_of(source: ParquetFile, names: Sequence[str], classes: int | None) -> Labels:
    """`classes`: of the target, where the source says another number or none."""
    said = [count for count in (source.most_classes, classes) if count is not None]
    ids = {plain_label(label): number for number, label in enumerate(source.labels)}
    return Labels(ids, min(said, default=None), names)


def plain_label(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return composed(text.strip())


def _number(value: object) -> int | None:
    """Columns of whole numbers with nulls may be stored as floats."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def class_label_names(description: str, column: str) -> tuple[str, ...]:
    """The names of the numbers in a column, as Hugging Face's datasets write them into a file's metadata (features of
    type ClassLabel); none where they are not there."""
    try:
        said: Any = parsed_json(description.encode())
        feature = said["info"]["features"][column]
        feature = feature.get("feature", feature)
        names = feature["names"] if feature["_type"] == "ClassLabel" else ()
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()
    return tuple(names) if all(isinstance(name, str) for name in names) else ()
