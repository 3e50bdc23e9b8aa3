"""Words and number formats of verdicts, for sentences and pages alike."""

METRIC_WORDS = {
    "zero_shot": "zero-shot accuracy",
    "linear_probe": "linear-probe accuracy",
    "regularised_probe": "regularised-probe accuracy",
}


def points(accuracy: float, *, signed: bool = False) -> str:
    """0.0312 -> "3.1", with a true minus sign."""
    text = f"{abs(accuracy) * 100:.1f}"
    sign = "−" if accuracy < 0 else "+" if signed else ""
    return text if float(text) == 0 else sign + text
