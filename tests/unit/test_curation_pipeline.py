"""The order of the rules, the counts and the reasons."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.curation import (
    AllOf,
    Curation,
    CurationReport,
    KeepAboveClassScore,
    KeepAboveScore,
    KeepAll,
    KeepTopFraction,
)
from touchstone_retrieval.curation.candidates import Candidates, Curated, HeldOutImages, References
from touchstone_retrieval.curation.pipeline import count_stages, curate
from touchstone_retrieval.curation.report import curation_report, memorisation_report

# Class 0 lies at 0 degrees, class 1 at 90; the test image at 30.
CLASSES = (0, 90)
TEST = (30,)


def unit(*angles: float) -> np.ndarray:
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def curated(angles: tuple[float, ...], class_ids: list[int], rules: Curation) -> tuple[Curated, Candidates]:
    candidates = Candidates(unit(*angles), np.array(class_ids, dtype=np.int64), [f"id{a}" for a in angles])
    return curate(candidates, unit(*CLASSES), References(HeldOutImages(unit(*TEST), ["test"])), rules), candidates


def rules(**changes: object) -> Curation:
    plain = {"filter": KeepAll(), "per_class_cap": None, "near_duplicate_cosine": None, "leak_cosine": None}
    return Curation.model_validate(plain | changes)


def test_each_image_is_dropped_by_the_first_rule_that_applies() -> None:
    result, candidates = curated(
        (30, 0, 1, 70, 10, 20, 95),
        [0, 0, 0, 0, 0, 0, 1],
        rules(leak_cosine=0.999, near_duplicate_cosine=0.999, filter=KeepAboveScore(minimum=0.5), per_class_cap=2),
    )
    assert result.reasons.tolist() == ["leaked", "", "near_duplicate", "filtered", "", "over_cap", ""]
    counts = count_stages(result.reasons, candidates.class_ids, 3, requested=20)
    assert (counts.requested, counts.obtained, counts.kept) == (20, 7, 3)
    assert (counts.leaked, counts.near_duplicate, counts.filtered, counts.over_cap) == (1, 1, 1, 1)
    assert counts.classes_without_images == (2,)


def test_placeholders_are_dropped_before_anything_else_looks_at_them() -> None:
    candidates = Candidates(
        unit(0, 5, 30, 90), np.array([0, 0, 0, 1]), ["a", "gone", "gone too", "gone"], None, {"gone", "gone too"}
    )
    references = References(HeldOutImages(unit(*TEST), ["test"]))
    result = curate(
        candidates, unit(*CLASSES), references, rules(leak_cosine=0.999, filter=KeepTopFraction(fraction=1.0))
    )
    assert result.reasons.tolist() == ["", "placeholder", "placeholder", "placeholder"]
    counts = count_stages(result.reasons, candidates.class_ids, 2, requested=4)
    assert (counts.placeholder, counts.kept, counts.leaked) == (3, 1, 0)


THRESHOLD, BETTER_HALF = KeepAboveScore(minimum=0.6), KeepTopFraction(fraction=0.5)


@pytest.mark.parametrize(
    ("combined", "fates"),
    [
        # Of 1.0, 0.87, 0.64, 0.34 and 0.17 three reach 0.6, of which two are the better half ...
        ((THRESHOLD, BETTER_HALF), ["", "", "keep_top_fraction", "keep_above_score", "keep_above_score"]),
        # ... while the better half of all five are three, and all of those reach 0.6.
        ((BETTER_HALF, THRESHOLD), ["", "", "", "keep_top_fraction", "keep_top_fraction"]),
    ],
)
def test_rules_apply_in_their_order_and_the_reason_names_the_one_that_dropped_the_image(
    combined: tuple[KeepAboveScore | KeepTopFraction, ...], fates: list[str]
) -> None:
    result, candidates = curated((0, 30, 50, 70, 80), [0] * 5, rules(filter=AllOf(rules=combined)))
    assert result.reasons.tolist() == [fate and f"filtered/{fate}" for fate in fates]
    dropped = sum(fate != "" for fate in fates)
    counts = count_stages(result.reasons, candidates.class_ids, 2, requested=5)
    assert (counts.filtered, counts.kept, counts.obtained) == (dropped, 5 - dropped, 5)
    report = curation_report(result.scores, result.reasons, candidates.class_ids, 2)
    assert sum(by_class[0] for by_class in report.dropped_by_class.values()) == dropped
    assert CurationReport.model_validate_json(report.model_dump_json()) == report


def test_a_combination_of_one_rule_or_of_two_of_a_kind_cannot_be_written_down() -> None:
    for impossible in ((THRESHOLD,), (THRESHOLD, KeepAboveScore(minimum=0.7)), (THRESHOLD, KeepAll())):
        with pytest.raises(ValidationError):
            AllOf(rules=impossible)  # type: ignore[arg-type]


def test_a_leaked_image_does_not_shift_the_quantile_of_its_class() -> None:
    # With the leaked image, the best half of four would be 1.0 and 0.87; without it, of three, 1.0 and 0.5.
    result, _ = curated((30, 0, 60, 70), [0] * 4, rules(leak_cosine=0.999, filter=KeepTopFraction(fraction=0.5)))
    assert result.reasons.tolist() == ["leaked", "", "", "filtered"]


def test_leaks_that_are_removed_last_count_in_the_quantile_and_the_cap() -> None:
    # Of 1.0 (leaked), 0.87, 0.5 and 0.34 the better half are the first two; the leak goes after that.
    half = rules(leak_cosine=0.999, filter=KeepTopFraction(fraction=0.5), leaks_removed="last")
    references = References(HeldOutImages(unit(0), ["t"]))
    candidates = Candidates(unit(0, 30, 60, 70), np.zeros(4, dtype=np.int64), list("abcd"))
    result = curate(candidates, unit(*CLASSES), references, half)
    assert result.reasons.tolist() == ["leaked", "", "filtered", "filtered"]
    references = replace(references, validation=HeldOutImages(unit(30), ["v"]))
    capped = half.model_copy(update={"filter": KeepAll(), "per_class_cap": 2, "leak_splits": ("test", "validation")})
    result = curate(candidates, unit(*CLASSES), references, capped)
    assert result.reasons.tolist() == ["leaked", "leaked_validation", "over_cap", "over_cap"]
    first = curate(candidates, unit(*CLASSES), references, capped.model_copy(update={"leaks_removed": "first"}))
    assert first.reasons.tolist() == ["leaked", "leaked_validation", "", ""]


def test_a_leaked_image_does_not_shadow_its_duplicate() -> None:
    result, _ = curated((30, 31.5), [0, 0], rules(leak_cosine=0.9999, near_duplicate_cosine=0.99))
    assert result.reasons.tolist() == ["leaked", ""]


def test_every_candidate_keeps_its_score_and_nearest_test_image() -> None:
    result, _ = curated((30, 0, 90), [0, 0, 1], rules(leak_cosine=0.999))
    np.testing.assert_allclose(result.scores, [np.cos(np.pi / 6), 1, 1], atol=1e-6)
    np.testing.assert_allclose(result.nearest.cosine, [1, np.cos(np.pi / 6), 0.5], atol=1e-6)


def test_no_candidates_are_a_declared_fact() -> None:
    result, candidates = curated((), [], Curation())
    counts = count_stages(result.reasons, candidates.class_ids, 2, requested=10)
    assert (counts.obtained, counts.kept, counts.classes_without_images) == (0, 0, (0, 1))


@pytest.mark.parametrize("seed", range(5))
def test_counts_always_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = tuple(rng.uniform(0, 120, 200).tolist())
    result, candidates = curated(angles, rng.integers(2, size=200).tolist(), Curation(per_class_cap=20))
    counts = count_stages(result.reasons, candidates.class_ids, 2, requested=200)
    dropped = counts.leaked + counts.near_duplicate + counts.filtered + counts.over_cap
    assert counts.kept + dropped == counts.obtained == 200
    assert counts.leaked > 0
    assert counts.near_duplicate > 0


def test_validation_leaks_only_where_the_rules_say_so() -> None:
    candidates = Candidates(unit(30, 50, 0), np.zeros(3, dtype=np.int64), ["a", "b", "c"])
    references = References(HeldOutImages(unit(30), ["t"]), validation=HeldOutImages(unit(50, 80), ["v", "w"]))
    both = curate(candidates, unit(*CLASSES), references, rules(leak_cosine=0.999, leak_splits=("test", "validation")))
    assert both.reasons.tolist() == ["leaked", "leaked_validation", ""]
    assert both.nearest_validation is not None
    assert both.nearest_validation.position.tolist() == [0, 0, 0]
    one = curate(candidates, unit(*CLASSES), references, rules(leak_cosine=0.999, leak_splits=("validation",)))
    assert one.reasons.tolist() == ["", "leaked_validation", ""]


def test_novelty_drops_what_upstream_has_and_memorisation_only_reports_it() -> None:
    candidates = Candidates(unit(0, 10, 45), np.zeros(3, dtype=np.int64), ["a", "b", "c"])
    shards = [unit(90), unit(11, 1)]
    references = References(HeldOutImages(unit(*TEST), ["t"]), upstream=iter(shards))
    novel = curate(candidates, unit(*CLASSES), references, rules(novelty_cosine=0.999))
    assert novel.reasons.tolist() == ["familiar", "familiar", ""]
    assert novel.nearest_upstream is not None
    assert novel.nearest_upstream.position.tolist() == [2, 1, 1]  # positions count through the shards
    reported = curate(candidates, unit(*CLASSES), replace(references, upstream=shards), rules(memorisation_cosine=0.9))
    assert reported.reasons.tolist() == ["", "", ""]
    assert reported.nearest_upstream is not None
    report = memorisation_report(reported.nearest_upstream.cosine, 0.9)
    assert (report.images, report.threshold, report.share) == (3, 0.9, pytest.approx(2 / 3))
    assert report.cosine_quantiles["1"] == pytest.approx(np.cos(np.deg2rad(1)), abs=1e-5)
    assert report.cosine_quantiles["0.5"] == report.cosine_quantiles["0.75"] == report.cosine_quantiles["0.95"]


def test_an_arm_without_images_has_an_empty_memorisation_report() -> None:
    report = memorisation_report(np.zeros(0, dtype=np.float32), 0.9)
    assert (report.images, report.share, report.cosine_quantiles) == (0, None, {})


def test_descriptors_find_copies_where_scores_do_not_look() -> None:
    # By the scoring encoder all three are the test image; by the descriptors the first is, and the last two are alike.
    candidates = Candidates(unit(30, 30, 30), np.zeros(3, dtype=np.int64), ["a", "b", "c"], unit(0, 90, 91))
    references = References(HeldOutImages(unit(0), ["t"]))
    result = curate(candidates, unit(*CLASSES), references, rules(leak_cosine=0.99, near_duplicate_cosine=0.99))
    assert result.reasons.tolist() == ["leaked", "", "near_duplicate"]


def test_classes_with_one_name_keep_their_own_images_and_share_a_threshold_by_name() -> None:
    crane = ("crane", "crane")
    classes = [ClassLabel(id=number, display_name=name) for number, name in enumerate(crane)]
    by_name = KeepAboveClassScore(minimums={"crane": 0.9}, minimum=0.0)
    by_id = KeepAboveClassScore(minimums={"1": 0.9}, minimum=0.0)
    candidates = Candidates(unit(0, 60, 90, 30), np.array([0, 0, 1, 1]), ["a", "b", "c", "d"])
    references = References(HeldOutImages(unit(180), ["t"]))
    fates = {
        rule: curate(candidates, unit(*CLASSES), references, rules(filter=each), classes).reasons.tolist()
        for rule, each in (("name", by_name), ("id", by_id))
    }
    assert fates == {"name": ["", "filtered", "", "filtered"], "id": ["", "", "", "filtered"]}


@pytest.mark.parametrize("seed", range(3))
def test_neither_the_order_of_candidates_nor_a_tie_decides_what_stays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Few angles, so that scores tie and images repeat.
    angles, class_ids = rng.integers(0, 30, 300) * 4.0, rng.integers(2, size=300)
    ids = [f"{number:03d}" for number in rng.permutation(300)]
    references = References(HeldOutImages(unit(*TEST), ["test"]), upstream=[unit(60)])
    strict = Curation(per_class_cap=7, near_duplicate_cosine=1, leak_cosine=0.99, novelty_cosine=0.999)
    kept = set()
    for shuffled in (np.arange(300), rng.permutation(300), np.arange(300)[::-1]):
        part = Candidates(unit(*angles[shuffled]), class_ids[shuffled], [ids[row] for row in shuffled])
        result = curate(part, unit(*CLASSES), references, strict)
        assert set(result.reasons) > {"leaked", "familiar", "near_duplicate", ""}
        kept.add(frozenset(part.image_ids[row] for row in np.flatnonzero(result.kept).tolist()))
    assert len(kept) == 1


def test_the_report_says_what_happened_to_each_class() -> None:
    result, candidates = curated((30, 0, 1, 70, 95), [0, 0, 0, 0, 1], rules(filter=KeepAboveScore(minimum=0.5)))
    report = curation_report(result.scores, result.reasons, candidates.class_ids, 3)
    assert report.obtained_by_class == (4, 1, 0)
    assert report.dropped_by_class == {"filtered": (1, 0, 0)}
    assert report.kept_by_class == (3, 1, 0)
    assert report.class_coverage == pytest.approx(2 / 3)
    assert report.scores is not None
    assert (sum(report.scores.obtained), sum(report.scores.kept)) == (5, 4)
    assert len(report.scores.edges) == len(report.scores.kept) + 1
    assert CurationReport.model_validate_json(report.model_dump_json()) == report
    nothing = curation_report(np.zeros(0), np.zeros(0, dtype=object), np.zeros(0, dtype=np.int64), 2)
    assert (nothing.scores, nothing.class_coverage) == (None, 0)
