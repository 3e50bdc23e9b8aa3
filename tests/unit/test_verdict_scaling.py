"""The power law: recovered where it holds, bounded where it does not, and never silent about what it forecasts."""

import numpy as np
import pytest
from touchstone_contracts.identity import sha256
from touchstone_contracts.views import ScalingFit
from touchstone_verdict.curves import DRAWS, Curve, redrawn, seeds_redrawn
from touchstone_verdict.scaling import fit_power_laws, scaling_fit, scaling_fits

KEY = ("flags", "zero_shot", "real")
SIZES = (100, 200, 400, 800, 1600)


def law(ceiling: float, gap: float, exponent: float) -> np.ndarray:
    return ceiling - gap * (np.array(SIZES) / SIZES[0]) ** -exponent


def curve(accuracies: np.ndarray, sizes: tuple[int, ...] = SIZES, *, seeds: int = 3, images: int = 2000) -> Curve:
    rng = np.random.default_rng(0)
    hardness = rng.random(images)
    levels = accuracies[:, None, None] + 0.01 * rng.standard_normal((len(sizes), seeds, 1))
    return Curve(sizes, hardness < levels)


def fit_of(curve: Curve) -> ScalingFit:
    fit = scaling_fit(KEY, curve, 0.95, np.random.default_rng(1))
    assert fit is not None
    return fit


def test_a_power_law_is_recovered() -> None:
    fitted = fit_power_laws(np.stack([law(0.9, 0.4, 0.5), law(0.6, 0.1, 1.2)]), SIZES)
    assert fitted.ceiling == pytest.approx([0.9, 0.6], abs=0.01)
    assert fitted.gap == pytest.approx([0.4, 0.1], abs=0.01)
    assert fitted.exponent == pytest.approx([0.5, 1.2], rel=0.06)  # the grid's step


def test_the_fit_is_at_least_as_good_as_a_general_optimiser_finds() -> None:
    from scipy.optimize import least_squares

    rng = np.random.default_rng(4)
    curves = law(0.8, 0.3, 0.6) + 0.01 * rng.standard_normal((20, len(SIZES)))
    ours = ((fit_power_laws(curves, SIZES).at(np.array(SIZES)) - curves) ** 2).sum(axis=1)
    x = np.array(SIZES) / SIZES[0]
    for row, error in zip(curves, ours, strict=True):
        bounds = ([0, 0, 0.02], [1, np.inf, 4])
        theirs = least_squares(lambda p, row=row: p[0] - p[1] * x ** -p[2] - row, [0.8, 0.3, 0.5], bounds=bounds)
        assert error <= 2 * theirs.cost * 1.1  # the grid of exponents costs a little


def test_a_falling_curve_is_fitted_as_flat_and_a_steep_one_never_passes_one() -> None:
    falling, steep = np.array([0.8, 0.7, 0.6, 0.5, 0.4]), np.array([0.1, 0.4, 0.7, 0.95, 1.0])
    fitted = fit_power_laws(np.stack([falling, steep]), SIZES)
    predicted = fitted.at(np.array([*SIZES, 10**9]))
    assert predicted[0] == pytest.approx(0.6)
    assert predicted[1].max() <= 1.0
    assert (np.diff(predicted, axis=1) >= -1e-12).all()


def test_what_lies_beyond_the_measured_sizes_is_marked_as_forecast() -> None:
    fit = fit_of(curve(law(0.9, 0.4, 0.5)))
    assert [point.size for point in fit.points if point.forecast] == [3200, 6400]
    assert all(SIZES[0] <= point.size <= SIZES[-1] for point in fit.points if not point.forecast)
    assert len(fit.points) == 15


def test_intervals_contain_the_fit_and_widen_in_the_forecast() -> None:
    points = fit_of(curve(law(0.9, 0.4, 0.5))).points
    assert all(p.low is not None and p.high is not None and p.low <= p.accuracy <= p.high for p in points)
    widths = [(p.high or 0) - (p.low or 0) for p in points]
    assert widths[-1] > widths[len(points) // 2]


def test_a_size_that_was_left_out_is_forecast_within_its_interval() -> None:
    accuracies = law(0.9, 0.4, 0.5)
    fit = fit_of(curve(accuracies[:-1], SIZES[:-1]))
    forecast = next(point for point in fit.points if point.size == SIZES[-1])
    assert forecast.forecast
    assert (forecast.low or 1) <= accuracies[-1] <= (forecast.high or 0)


def test_two_sizes_are_too_few_for_a_law() -> None:
    assert scaling_fit(KEY, curve(law(0.9, 0.4, 0.5)[:2], SIZES[:2]), 0.95, np.random.default_rng(0)) is None


def test_one_seed_gives_a_curve_without_an_interval() -> None:
    points = fit_of(curve(law(0.9, 0.4, 0.5), seeds=1)).points
    assert {(point.low, point.high) for point in points} == {(None, None)}


def test_the_same_curves_give_the_same_fits() -> None:
    curves = {KEY: curve(law(0.9, 0.4, 0.5)), ("flags", "linear_probe", "real"): curve(law(0.7, 0.1, 0.5))}
    first, second = (scaling_fits(curves, "test", 0.95, sha256(b"rows")) for _ in range(2))
    assert first == second
    assert [fit.metric for fit in first] == ["linear_probe", "zero_shot"]


def test_redrawn_means_vary_as_much_as_means_of_new_seeds_would() -> None:
    rng = np.random.default_rng(3)
    variances = []
    for _ in range(200):
        levels = 0.5 + 0.1 * rng.standard_normal((1, 3, 1))
        variances.append(seeds_redrawn(np.tile(levels, DRAWS), rng).var())
    assert np.mean(variances) == pytest.approx(0.1**2 / 3, rel=0.2)


@pytest.mark.parametrize("images_at_once", [16, 100, 999])
def test_the_draws_are_the_same_however_many_are_drawn_at_once(
    monkeypatch: pytest.MonkeyPatch, images_at_once: int
) -> None:
    measured = curve(law(0.9, 0.4, 0.5), images=500)
    monkeypatch.setattr("touchstone_verdict.curves.WEIGHTS_AT_ONCE", images_at_once * 500)
    rng, plain = np.random.default_rng(2), np.random.default_rng(2)
    found = redrawn([measured, measured], rng)
    weights = plain.multinomial(500, np.full(500, 1 / 500), size=DRAWS) / 500
    for accuracies in found:
        seeds = plain.multinomial(3, np.full(3, 1 / 3), size=DRAWS) / 3
        weighted = 1 / 3 + np.sqrt(3 / 2) * (seeds - 1 / 3)
        by_seed = measured.correct.astype(float) @ weights.T
        assert accuracies == pytest.approx(np.einsum("zsk,ks->kz", by_seed, weighted), abs=1e-14)
    assert rng.bit_generator.state == plain.bit_generator.state
