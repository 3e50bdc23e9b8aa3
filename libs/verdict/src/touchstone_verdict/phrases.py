"""Words and number formats of verdicts, for sentences and pages alike."""

from touchstone_contracts.adaptation import METRICS, Metric
from touchstone_contracts.catalogue import on_test_set


def measure_words(metric: Metric, test_set: str) -> str:
    return on_test_set(METRICS[metric].words, test_set)


def points(accuracy: float, *, signed: bool = False) -> str:
    """0.0312 -> "3.1", with a true minus sign."""
    text = f"{abs(accuracy) * 100:.1f}"
    sign = "−" if accuracy < 0 else "+" if signed else ""
    return text if float(text) == 0 else sign + text
