"""Why curation kept or dropped an image, in a sentence."""

from collections.abc import Callable, Mapping
from typing import Any

from touchstone_contracts.curation import Curation, stage_of, stage_words
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_planning.arms.planner import CuratedPlanner, planner_of

from touchstone_api.results.images import known_number

Row = Mapping[str, Any]
"""Of a pool's manifest."""


def rules_of(spec: ExperimentSpec, arm: str) -> Curation:
    """Those of the experiment's rules that apply to an arm."""
    planned = next(each for each in spec.arms if each.name == arm)
    planner = planner_of(planned)
    return planner.curation_rules(spec.curation) if isinstance(planner, CuratedPlanner) else spec.curation


def why(row: Row, rules: Curation) -> str:
    """`rules`: of the arm, or of the part of a mixture that the image came from."""
    if row["kept"]:
        return "Kept: no stage of curation dropped it."
    reason = row["drop_reason"]
    explain = _SENTENCES.get(stage_of(reason))
    return explain(row, rules) if explain else f"Dropped: {stage_words().get(reason, reason.replace('_', ' '))}."


def _placeholder(row: Row, rules: Curation) -> str:
    return "Dropped as a placeholder: several links lead to this picture instead of images that are gone."


def _leak(split: str, name: str) -> Callable[[Row, Curation], str]:
    def sentence(row: Row, rules: Curation) -> str:
        found = f"its cosine to {split} image is {_number(row[f'nearest_{name}_cosine'])}"
        return f"Dropped as a leak: {found}, and the limit is {_number(rules.leak_cosine)}."

    return sentence


def _familiar(row: Row, rules: Curation) -> str:
    found = _number(row["nearest_upstream_cosine"])
    limit = _number(rules.novelty_cosine)
    return f"Dropped as known: its cosine to the nearest upstream image is {found}, and the limit is {limit}."


def _label_conflict(row: Row, rules: Curation) -> str:
    if rules.label_conflicts == "drop":
        return "Dropped for a label conflict: it was found for another class too, and such images are not used."
    return "Dropped for a label conflict: it was found for another class too, which it has a higher score for."


def _near_duplicate(row: Row, rules: Curation) -> str:
    other = (
        f"an image of the same class with a higher score resembles it (cosine {_number(rules.near_duplicate_cosine)}"
    )
    mixed = ", or an earlier part of the mixture keeps the same image" if row["part"] >= 0 else ""
    return f"Dropped as a near-duplicate: {other} or more){mixed}. Which image that is, is not stored."


def _filtered(row: Row, rules: Curation) -> str:
    rule = next((each for each in rules.score_rules if rules.drop_reason(each) == row["drop_reason"]), None)
    words = rule.dropped_words if rule else "not one that the filter keeps"
    return f"Dropped by the filter: its CLIP score of {_number(row['score'])} is {words}."


def _over_cap(row: Row, rules: Curation) -> str:
    return f"Dropped over the cap: {rules.per_class_cap} images of its class score at least as high."


def _unsafe(row: Row, rules: Curation) -> str:
    return "Not used: its source flags it as unsafe (NSFW)."


def _taken_down(row: Row, rules: Curation) -> str:
    return "Not used: it was taken down on request."


def _number(value: float | None) -> str:
    known = known_number(value)
    return "not stored" if known is None else f"{known:.3f}"


_SENTENCES: Mapping[str, Callable[[Row, Curation], str]] = {
    "placeholder": _placeholder,
    "leaked": _leak("the nearest test", "test"),
    "leaked_validation": _leak("the nearest validation", "validation"),
    "familiar": _familiar,
    "label_conflict": _label_conflict,
    "near_duplicate": _near_duplicate,
    "filtered": _filtered,
    "over_cap": _over_cap,
    "nsfw": _unsafe,
    "taken_down": _taken_down,
}
