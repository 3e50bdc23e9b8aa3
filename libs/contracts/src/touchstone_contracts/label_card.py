"""The label card of a curated pool: whether its images show what their labels say, how they are spread, and how near
they are to the target's own images."""

from pydantic import Field

from touchstone_contracts.values import Lenient


class JudgeAgreement(Lenient):
    """How many labels an encoder agrees with that neither was adapted nor filtered the images."""

    images: int
    """Kept images with their labels; one that is kept for two classes counts twice."""
    agreeing: int
    """Those for which the judge finds their class the most likely one of the target (zero-shot)."""
    images_by_class: tuple[int, ...]
    agreeing_by_class: tuple[int, ...]
    judge_accuracy: float
    """Of the judge on the target's test images, whose labels are right: about what agreement with right labels is."""

    @property
    def share(self) -> float | None:
        return self.agreeing / self.images if self.images else None


class CaptionNames(Lenient):
    """Which classes of the target the captions name, by their display names, queries and aliases as whole words; of
    names within each other the longest counts. Captions of generated images are their prompts."""

    images: int
    """Kept images that have a caption."""
    own: int
    """Captions that name the image's class, perhaps among others."""
    other: int
    """Captions that name another class and not the image's."""


class SeveralLabels(Lenient):
    images: int
    """Distinct kept images."""
    several: int
    """Of these, images that are kept for more than one class."""


class ClassBalance(Lenient):
    """Images per class in the training sets of one size; expected ones where the draw decides."""

    size: int
    fewest: float
    median: float
    most: float
    short: int
    """Classes with fewer images than size / classes, rounded down."""
    empty: int


class Diversity(Lenient):
    """How alike the images of a class are, by the judge or, without one, by the encoder that scored them."""

    classes: int
    """Classes with two images or more, over which the means are taken."""
    mean_cosine: float
    """Between two images of a class: 1 where all are the same."""
    mean_nearest_cosine: float
    """Of an image to the nearest other one of its class."""


class TestSimilarity(Lenient):
    """Cosines of the kept images to their nearest test image, as curation compared them."""

    cosine_quantiles: dict[str, float]
    """Quantile (0.05 ... 1) -> cosine."""


class Distribution(Lenient):
    """How far the images are from the target's test images as a whole, by the judge or, without one, by the encoder
    that scored them. An image that is kept for two classes counts once; classes are not told apart, so that another mix
    of classes is a distance too."""

    images: int
    """Compared; of more than 2,000 so many are drawn."""
    test_images: int
    discrepancy: float
    """Squared maximum mean discrepancy, unbiased, with a Gaussian kernel as wide as the median distance between test
    images: 0 on average for images of the target's own distribution, hence sometimes negative."""
    discrepancy_error: float
    """Standard error (jackknife)."""
    floor: float
    """Two random halves of the test images differ by less than this in 95 % of splits: smaller discrepancies show no
    difference at these numbers."""
    density: float
    """How densely test images surround an image: about 1 for the target's own distribution (Naeem et al. 2020)."""
    coverage: float
    """Share of test images with an image nearer than their fifth nearest test image; of at most as many images as there
    are test images."""
    expected_coverage: float
    """Coverage by as many images of the target's own distribution."""


class LabelCard(Lenient):
    """Every field but `images` is one measure (touchstone_retrieval.audit); None: it does not apply."""

    images: int
    """Kept by curation."""
    agreement: JudgeAgreement | None = None
    """None: the experiment names no judge."""
    captions: CaptionNames | None = None
    """None: no image has a caption."""
    labels: SeveralLabels | None = None
    balance: tuple[ClassBalance, ...] = Field(default=())
    """By size, of those that the pool is large enough for."""
    diversity: Diversity | None = None
    """None: no class has two images."""
    test_similarity: TestSimilarity | None = None
    distribution: Distribution | None = None
    """None: fewer than eight images, or test images, to compare."""
