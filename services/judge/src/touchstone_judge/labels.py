"""What the label cards of the compared arms say about a verdict."""

from collections.abc import Iterator, Mapping

from touchstone_contracts.experiment import Comparison
from touchstone_contracts.label_card import LabelCard
from touchstone_contracts.steps import JudgeExperiment
from touchstone_runtime.finished import FinishedSteps, read_all
from touchstone_runtime.phases import phase

LARGEST_DIFFERENCE = 0.10
"""In label precision, between the arms compared, that goes without a warning."""

LabelsOfArms = Mapping[tuple[str, str], LabelCard]
"""By (target, arm)."""


@phase("load")
def read_label_cards(request: JudgeExperiment, steps: FinishedSteps) -> LabelsOfArms:
    """None for plans of before there were any. Raises MissingObject when one was lost from the object store."""
    audits = request.layout.audits
    cards = read_all(steps.audited, (entry.step for entry in audits))
    return {(entry.target, entry.arm): cards[entry.step] for entry in audits}


def label_warnings(comparison: Comparison, cards: LabelsOfArms) -> Iterator[str]:
    """Where the labels of one arm are right clearly more often than those of the other, that may be the difference."""
    for target in dict.fromkeys(target for target, _ in cards):
        a, b = (_agreement(cards.get((target, arm))) for arm in (comparison.a, comparison.b))
        if a is not None and b is not None and abs(a - b) > LARGEST_DIFFERENCE:
            yield (
                f"{target}: an independent encoder agrees with {100 * a:.1f} % of the labels of {comparison.a} and "
                f"with {100 * b:.1f} % of those of {comparison.b}: the difference may be one of labels, not of images."
            )


def _agreement(card: LabelCard | None) -> float | None:
    return card.agreement.share if card is not None and card.agreement is not None else None
