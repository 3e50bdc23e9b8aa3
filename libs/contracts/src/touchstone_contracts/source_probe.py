"""Whether the images of two arms can be told apart by what no class label says, and whether an encoder relies on it."""

from touchstone_contracts.values import Lenient


class Reliance(Lenient):
    """Accuracy of an encoder's own head on the test images, before and after its features lose the direction in which
    the two arms' images differ on average; then no linear classifier tells the arms apart (Belrose et al. 2023)."""

    accuracy: float
    change: float
    """Of accuracy; negative where the classes were told apart by it."""
    random_low: float
    random_high: float
    """95 % of the changes when sources are shuffled within classes, so that the direction means nothing."""
    p_value: float
    """Share of shuffled directions whose loss is at least as large."""


class SourceProbe(Lenient):
    """Of two arms at a target, on as many images of each class from both; images that both have are left out."""

    images: int
    """Of each arm."""
    auc: float
    """Area under the ROC curve of a linear classifier of the untouched encoder's features, mean over folds that it was
    not fitted on: 0.5 where the arms cannot be told apart, 1 where they always can."""
    auc_error: float
    """Standard error over the folds, which is rough."""
    untouched: Reliance | None
    """None: an encoder without text classifies nothing before it is adapted."""
    adapted: tuple[Reliance | None, Reliance | None]
    """On the first arm and on the second; None: it did not reach the size."""
