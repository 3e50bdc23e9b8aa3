"""Predictions as a table that anybody can bring: checked, and turned into curves."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.identity import identity, sha256
from touchstone_contracts.problems import Invalid, Unfair
from touchstone_contracts.suggestions import did_you_mean
from touchstone_contracts.values import Digest, Name

from touchstone_verdict.curves import Curve, Curves
from touchstone_verdict.failed_runs import Validation

Predictions = Mapping[str, npt.ArrayLike]
"""Column -> values, as `touchstone_verdict.judge.judge` describes them."""

COLUMNS = {
    "arm": "what is compared",
    "target": "the classification task",
    "test_set": 'the test set of the target, "test" for its main one',
    "size": "number of training images, 0 for the untouched model",
    "seed": "number of the run",
    "image": "id of the test image",
    "correct": "1 or 0: whether the image was classified correctly",
}
METRIC = "metric"
CLUSTER = "cluster"
"""What the test image shares with those that were drawn together with it: concept, scene, patient."""
VALIDATION = "validation"
"""The run's accuracy on validation, by which failed runs are found."""
OPTIONAL = (METRIC, CLUSTER, VALIDATION)
ROWS_AT_ONCE = 100_000
"""Of a column of texts, turned into Python's strings."""

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class PredictionsTable:
    curves: Mapping[str, Curves]
    """By test set."""
    targets: tuple[str, ...]
    metrics: tuple[Metric, ...]
    """The comparison's first."""
    sizes: tuple[int, ...]
    arms: tuple[str, ...]
    """Those that were trained."""
    untouched: str | None
    digest: Digest
    """Of everything in it but the ids and clusters of images and the accuracies on validation."""
    validation: Mapping[tuple[str, str], Validation]
    """(target, arm) -> of the comparison's metric and test set; empty without such a column."""
    seeds_planned: int | None = None
    """Where the seeds are those of a declared look that is not the last."""


@dataclass(frozen=True)
class Run:
    """The rows of one (metric, test set, target, arm, size, seed)."""

    metric: str
    test_set: str
    target: str
    arm: str
    size: int
    seed: int
    images: Codes
    """Ascending."""
    correct: npt.NDArray[np.bool_]
    clusters: Codes | None = None
    """Of the images; None without such a column, as `validation`."""
    validation: float | None = None

    def __str__(self) -> str:
        measured_on = f"target {self.target!r}, test set {self.test_set!r}"
        return f"arm {self.arm!r} at {measured_on}, size {self.size}, seed {self.seed}"


def read_predictions(predictions: Predictions, comparison: Comparison, *, paired: bool = False) -> PredictionsTable:
    """`paired`: seeds are compared in pairs.

    Raises Invalid where the table does not hold what it should and Unfair where the arms cannot be compared."""
    columns, correct = _columns(predictions, comparison)
    runs = list(_runs(columns, correct))
    _require_the_same_images(runs, columns["image"])
    groups = {key: tuple(group) for key, group in groupby(runs, attrgetter("metric", "test_set", "target", "arm"))}
    untouched = _untouched(runs)
    seeds = {key: _seeds(group) for key, group in groups.items()}
    table = PredictionsTable(
        curves={
            name: {
                (target, metric, arm): _curve(group)
                for (metric, test_set, target, arm), group in groups.items()
                if test_set == name
            }
            for name in columns["test_set"].values
        },
        targets=tuple(columns["target"].values),
        metrics=tuple(sorted(columns[METRIC].values, key=lambda metric: (metric != comparison.metric, metric))),
        sizes=tuple(size for size in columns["size"].values if size > 0),
        arms=tuple(arm for arm in columns["arm"].values if arm != untouched),
        untouched=untouched,
        digest=identity([[*key, seeds[key], _content(group)] for key, group in sorted(groups.items())]),
        validation={
            (target, arm): _validation(group)
            for (metric, test_set, target, arm), group in groups.items()
            if (metric, test_set) == (comparison.metric, comparison.test_set) and group[0].validation is not None
        },
    )
    _require_the_comparison(comparison, table)
    if paired or comparison.stopping != "fixed":
        _require_paired_seeds(comparison, table, seeds)
    if comparison.failed_runs == "leave_out" and not table.validation:
        raise Invalid(
            f"failed runs are found by their accuracy on validation: add a column {VALIDATION}, or let them count",
            code="missing_columns",
        )
    return replace(table, seeds_planned=_require_a_look(comparison, table)) if comparison.looks else table


# ------------------------------------------------------------------------------------------------ columns


@dataclass(frozen=True)
class Column:
    """A column as its distinct values, in ascending order, and each row's index into them."""

    values: Sequence[Any]
    codes: Codes
    """(rows,)"""


def _columns(predictions: Predictions, comparison: Comparison) -> tuple[dict[str, Column], npt.NDArray[np.bool_]]:
    """Every column, that of metrics included, and the truth values of `correct`."""
    missing = [name for name in COLUMNS if name not in predictions]
    if missing:
        wanted = "; ".join(f"{name} ({COLUMNS[name]})" for name in missing)
        raise Invalid(f"the predictions have no column {wanted}", code="missing_columns")
    names = [*COLUMNS, *(name for name in OPTIONAL if name in predictions)]
    arrays = {name: np.asarray(predictions[name]) for name in names}
    lengths = {name: array.shape for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or arrays["arm"].ndim != 1:
        shapes = ", ".join(f"{name} {'x'.join(map(str, shape)) or 'a single value'}" for name, shape in lengths.items())
        raise Invalid(f"columns must have one value a row, and equally many rows: {shapes}", code="unequal_columns")
    if not len(arrays["arm"]):
        raise Invalid("the predictions have no rows: give one for each test image and run", code="no_predictions")
    columns = {name: _named(name, arrays[name]) for name in ("arm", "target", "test_set")}
    columns |= {name: _numbered(name, arrays[name]) for name in ("size", "seed")}
    columns["image"] = _coded("image", arrays["image"])
    if CLUSTER in arrays:
        columns[CLUSTER] = _coded(CLUSTER, arrays[CLUSTER])
    if VALIDATION in arrays:
        columns[VALIDATION] = _accuracies(VALIDATION, arrays[VALIDATION])
    columns[METRIC] = _metrics(arrays.get(METRIC), comparison, len(arrays["arm"]))
    return columns, _truth(arrays["correct"])


def _coded(name: str, values: npt.NDArray[Any]) -> Column:
    if values.dtype.kind in "biuf":
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise _wrong(name, "an empty value", "a value in every row")
        distinct, codes = np.unique(values, return_inverse=True)
        return Column(distinct.tolist(), codes.astype(np.int32))
    known: dict[Any, int] = {}
    found = np.empty(len(values), dtype=np.int32)
    for first in range(0, len(values), ROWS_AT_ONCE):
        block = values[first : first + ROWS_AT_ONCE].tolist()
        found[first : first + len(block)] = [known.setdefault(value, len(known)) for value in block]
    strange = next((value for value in known if not isinstance(value, str)), None)
    if strange is not None or None in known:
        raise _wrong(name, repr(strange), "texts, the same kind of value in every row")
    order = sorted(known)
    ranks = np.empty(len(known), dtype=np.int32)
    ranks[[known[value] for value in order]] = np.arange(len(known))
    return Column(order, ranks[found])


def _named(name: str, values: npt.NDArray[Any]) -> Column:
    column = _coded(name, values)
    for value in column.values:
        try:
            TypeAdapter(Name).validate_python(value)
        except ValidationError:
            wanted = "names of at most 64 lower case letters, digits, dots, dashes and underscores"
            raise _wrong(name, repr(value), wanted) from None
    return column


def _numbered(name: str, values: npt.NDArray[Any]) -> Column:
    column = _coded(name, values)
    strange = next((value for value in column.values if not _is_count(value)), None)
    if strange is not None:
        raise _wrong(name, repr(strange), "whole numbers from 0 on")
    return Column([int(value) for value in column.values], column.codes)


def _is_count(value: Any) -> bool:
    return not isinstance(value, bool | str) and math.isfinite(value) and value >= 0 and value == int(value)


def _accuracies(name: str, values: npt.NDArray[Any]) -> Column:
    column = _coded(name, values)
    strange = next((value for value in column.values if isinstance(value, str) or not 0 <= value <= 1), None)
    if strange is not None:
        raise _wrong(name, repr(strange), "accuracies from 0 to 1")
    return column


def _truth(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    column = _coded("correct", values)
    strange = next((value for value in column.values if value not in (0, 1)), None)
    if strange is not None:
        raise _wrong("correct", repr(strange), "1 or true where the image was classified correctly, else 0 or false")
    return np.asarray(column.values, dtype=np.bool_)[column.codes]


def _metrics(values: npt.NDArray[Any] | None, comparison: Comparison, rows: int) -> Column:
    """Without such a column every row is of the comparison's metric."""
    if values is None:
        return Column([comparison.metric], np.zeros(rows, dtype=np.int32))
    column = _coded(METRIC, values)
    for value in column.values:
        try:
            TypeAdapter(Metric).validate_python(value)
        except ValidationError as error:
            raise _wrong(METRIC, repr(value), "names of metrics: " + error.errors()[0]["msg"]) from None
    return column


def _wrong(column: str, value: str, wanted: str) -> Invalid:
    return Invalid(f"column {column} holds {value}; it takes {wanted}", code="wrong_values")


# ------------------------------------------------------------------------------------------------ runs


def _runs(columns: Mapping[str, Column], correct: npt.NDArray[np.bool_]) -> Iterator[Run]:
    """In the order of Run's fields."""
    keys = [columns[name] for name in (METRIC, "test_set", "target", "arm", "size", "seed", "image")]
    joint = np.zeros(len(correct), dtype=np.int64)
    for key in keys:
        joint *= len(key.values)
        joint += key.codes
    order = np.argsort(joint, kind="stable")
    joint = joint[order]
    _require_no_repetition(joint, order, keys)
    starts = np.flatnonzero(np.diff(joint // len(keys[-1].values), prepend=-1))
    for rows in np.split(order, starts[1:]):
        metric, test_set, target, arm, size, seed = (key.values[key.codes[rows[0]]] for key in keys[:-1])
        run = Run(metric, test_set, target, arm, size, seed, columns["image"].codes[rows], correct[rows])
        yield replace(run, clusters=_clusters_of(columns, rows), validation=_validation_of(run, columns, rows))


def _clusters_of(columns: Mapping[str, Column], rows: npt.NDArray[np.intp]) -> Codes | None:
    return columns[CLUSTER].codes[rows] if CLUSTER in columns else None


def _validation_of(run: Run, columns: Mapping[str, Column], rows: npt.NDArray[np.intp]) -> float | None:
    if VALIDATION not in columns:
        return None
    found = np.unique(columns[VALIDATION].codes[rows])
    if len(found) > 1:
        raise Invalid(
            f"column {VALIDATION} has {len(found)} values for {run}: a run has one accuracy on validation, the same in "
            "all of its rows",
            code="wrong_values",
        )
    return float(columns[VALIDATION].values[found[0]])


def _require_no_repetition(joint: npt.NDArray[np.int64], order: npt.NDArray[np.intp], keys: Sequence[Column]) -> None:
    """`joint`: one number for the combination of all keys in each row, ascending."""
    repeated = np.flatnonzero(joint[1:] == joint[:-1])
    if len(repeated):
        first = ", ".join(str(key.values[key.codes[order[repeated[0]]]]) for key in keys[1:])
        raise Invalid(
            f"{len(repeated)} rows repeat another's test set, target, arm, size, seed and image, the first of them "
            f"({first}): give one row for each test image and run",
            code="repeated_rows",
        )


def _require_the_same_images(runs: Sequence[Run], images: Column) -> None:
    """The arms are compared image by image, so every run on a target's test set must have seen the same ones."""
    first: dict[tuple[str, str], Run] = {}
    for run in runs:
        other = first.setdefault((run.target, run.test_set), run)
        if not np.array_equal(run.images, other.images):
            less, more = sorted((run, other), key=lambda each: len(each.images))
            lost = images.values[np.setdiff1d(more.images, less.images)[0]]
            raise Unfair(
                f"{less} has {len(less.images)} test images and {more} has {len(more.images)}; the first lacks image "
                f"{lost!r}. Every run on a test set must have the same images: add the missing rows or leave those "
                "images out everywhere",
                code="unpaired_images",
            )
        if run.clusters is not None and other.clusters is not None and (run.clusters != other.clusters).any():
            image = images.values[run.images[np.flatnonzero(run.clusters != other.clusters)[0]]]
            raise Invalid(
                f"image {image!r} is in one cluster for {other} and in another for {run}: what a test image shares "
                "with others does not depend on the run",
                code="wrong_values",
            )


def _seeds(runs: Sequence[Run]) -> list[int]:
    """Of one arm, the same at each of its sizes."""
    by_size = {size: [run.seed for run in group] for size, group in groupby(runs, attrgetter("size"))}
    smallest = min(by_size)
    for size, seeds in by_size.items():
        if seeds != by_size[smallest]:
            raise Unfair(
                f"arm {runs[0].arm!r} at target {runs[0].target!r} has the seeds {_listed(by_size[smallest])} at size "
                f"{smallest} and {_listed(seeds)} at size {size}: give every size of an arm the same seeds",
                code="unequal_seeds",
            )
    return by_size[smallest]


def _curve(runs: Sequence[Run]) -> Curve:
    sizes = tuple(dict.fromkeys(run.size for run in runs))
    correct = np.stack([run.correct for run in runs])
    clusters = runs[0].clusters
    numbers = None if clusters is None else np.unique(clusters, return_inverse=True)[1].astype(np.int32)
    return Curve(sizes, correct.reshape(len(sizes), -1, correct.shape[1]), numbers)


def _validation(runs: Sequence[Run]) -> Validation:
    sizes = tuple(dict.fromkeys(run.size for run in runs))
    seeds = tuple(dict.fromkeys(run.seed for run in runs))
    return Validation(sizes, seeds, np.array([run.validation for run in runs]).reshape(len(sizes), -1))


def _content(runs: Sequence[Run]) -> list[object]:
    bits = b"".join(np.packbits(run.correct).tobytes() for run in runs)
    return [list(dict.fromkeys(run.size for run in runs)), len(runs[0].correct), sha256(bits)]


def _untouched(runs: Sequence[Run]) -> str | None:
    """The arm of size 0, if there is one."""
    found = sorted({run.arm for run in runs if run.size == 0})
    if len(found) > 1:
        raise Invalid(f"the arms {_listed(found)} have size 0: only one can be the untouched model", code="size_zero")
    arm = found[0] if found else None
    trained = next((run for run in runs if run.arm == arm and run.size > 0), None)
    if trained:
        raise Invalid(
            f"arm {arm!r} has size 0, which is the untouched model, and size {trained.size}: give the untouched model "
            "an arm of its own",
            code="size_zero",
        )
    return arm


# ------------------------------------------------------------------------------------------------ the comparison


def _require_the_comparison(comparison: Comparison, table: PredictionsTable) -> None:
    if fault := comparison.delta_fault:
        raise Invalid(fault, code="delta_too_large")
    arms = [*table.arms, *([table.untouched] if table.untouched else [])]
    for arm in (comparison.a, comparison.b):
        if arm not in arms:
            raise Invalid(_unknown("arm", arm, arms), code="unknown_arm")
    if comparison.a == comparison.b:
        raise Invalid(f"arm {comparison.a!r} is compared with itself: name two arms", code="same_arm")
    if comparison.metric not in table.metrics:
        raise Invalid(_unknown("metric", comparison.metric, table.metrics), code="unknown_metric")
    if comparison.test_set not in table.curves:
        raise Invalid(_unknown("test set", comparison.test_set, table.curves), code="unknown_test_set")
    tested = {target for target, _, _ in table.curves[comparison.test_set]}
    without = [target for target in table.targets if target not in tested]
    if without:
        raise Invalid(
            f"the targets {_listed(without)} have no test set {comparison.test_set!r}: compare on one that every "
            "target has, or leave those targets out",
            code="unknown_test_set",
        )


def _unknown(kind: str, name: str, names: Iterable[str]) -> str:
    known = list(names)
    meant = did_you_mean(name, known)
    said = f"there is no {kind} {name!r} in the predictions; they have {_listed(known)}"
    return "; ".join(filter(None, (said, meant)))


def _require_paired_seeds(
    comparison: Comparison, table: PredictionsTable, seeds: Mapping[tuple[str, str, str, str], Sequence[int]]
) -> None:
    for target in table.targets:
        of_a, of_b = (
            seeds.get((comparison.metric, comparison.test_set, target, arm)) for arm in (comparison.a, comparison.b)
        )
        if of_a and of_b and of_a != of_b:
            raise Unfair(
                f"at target {target!r} arm {comparison.a!r} has the seeds {_listed(of_a)} and arm {comparison.b!r} "
                f"{_listed(of_b)}: stopping {comparison.stopping!r} needs the same of both",
                code="unequal_seeds",
            )


def _require_a_look(comparison: Comparison, table: PredictionsTable) -> int | None:
    """Seeds that were planned, where this is not the last look yet."""
    curves = table.curves[comparison.test_set]
    found = {
        curves[target, comparison.metric, arm].correct.shape[1]
        for target in table.targets
        for arm in (comparison.a, comparison.b)
        if (target, comparison.metric, arm) in curves
    }
    if len(found) != 1 or not found <= set(comparison.looks):
        raise Invalid(
            f"the predictions have {_listed(sorted(found))} seeds per arm, but the declared looks are at "
            f"{_listed(comparison.looks)}: bring the first seeds of one of them, the same number at every target",
            code="no_declared_look",
        )
    (seeds,) = found
    return None if seeds == comparison.looks[-1] else comparison.looks[-1]


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)
