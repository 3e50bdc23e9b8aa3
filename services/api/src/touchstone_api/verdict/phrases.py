"""Words and number formats of verdicts, for sentences and pages alike."""

from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import MAIN_TEST_SET

METRIC_WORDS: dict[Metric, str] = {
    "zero_shot": "zero-shot accuracy",
    "linear_probe": "linear-probe accuracy",
    "regularised_probe": "regularised-probe accuracy",
}


def measure_words(metric: Metric, test_set: str) -> str:
    """ "zero-shot accuracy", "zero-shot accuracy on sketch": the main test set goes without saying."""
    words = METRIC_WORDS[metric]
    return words if test_set == MAIN_TEST_SET else f"{words} on {test_set}"


def points(accuracy: float, *, signed: bool = False) -> str:
    """0.0312 -> "3.1", with a true minus sign."""
    text = f"{abs(accuracy) * 100:.1f}"
    sign = "−" if accuracy < 0 else "+" if signed else ""
    return text if float(text) == 0 else sign + text
