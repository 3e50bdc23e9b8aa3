"""The measuring of benchmarks, with work that takes no time of its own."""

from support.duels import Duel, Elsewhere, Repetition, repeat, summarise


def test_sides_take_turns_and_every_repetition_is_judged() -> None:
    calls: list[str] = []

    def quality(ours: None, peer: None) -> bool:
        calls.append("quality")
        return True

    duel = Duel(lambda: calls.append("ours"), lambda: calls.append("peer"), quality, repetitions=3)
    assert len(list(repeat(duel))) == 3
    assert calls == ["ours", "peer", "quality"] * 3


def test_ratio_is_the_median_and_the_spread_its_extremes() -> None:
    entry = summarise("probe_path", [Repetition(1, 10, True), Repetition(2, 80, True), Repetition(4, 80, True)])
    assert (entry["ratio"], entry["spread"]) == (20, (10, 40))
    assert (entry["ours_cpu_s"], entry["peer_cpu_s"]) == (2, 80)


def test_one_repetition_below_quality_fails_the_clause() -> None:
    assert summarise("x", [Repetition(1, 2, True)])["quality_ok"]
    assert not summarise("x", [Repetition(1, 2, True), Repetition(1, 2, False)])["quality_ok"]


def test_a_side_that_ran_elsewhere_brings_its_own_time_and_memory() -> None:
    ours, peer = Elsewhere("a", 1.0, 90.0), Elsewhere("a", 3.0, 800.0)
    duel = Duel(lambda: ours, lambda: peer, lambda one, other: one.result == other.result)
    entry = summarise("judging", list(repeat(duel)))
    assert (entry["ratio"], entry["ours_peak_mb"], entry["peer_peak_mb"], entry["quality_ok"]) == (3, 90, 800, True)


def test_sides_in_this_process_have_no_memory_of_their_own() -> None:
    assert "ours_peak_mb" not in summarise("x", [Repetition(1, 2, True)])
