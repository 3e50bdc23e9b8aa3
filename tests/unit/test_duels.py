"""The measuring of benchmarks, with work that takes no time of its own."""

from support.duels import Duel, Repetition, repeat, summarise


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
