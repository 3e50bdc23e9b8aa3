"""Whether given embeddings are those of the encoder and in the order of their table, by a sample of rows.

Agreement is a cosine after the mean of the given rows is subtracted: 1 is the same image, 0 is any other one, however
narrow the cone that an encoder's embeddings lie in. The thresholds were chosen by measurements on 400 to 600 images of
the miniverse with mini-clip (median over all; in brackets the smallest and largest of 200 samples of 16 rows):

| the given rows are of                                          | agreement         | offset            |
|----------------------------------------------------------------|-------------------|-------------------|
| the same pixels, stored in 16 bits                             | 1.000             | 0.00              |
| images resized by another filter (nearest, the worst of four)  | 0.987 (0.98-0.99) | 0.08 (0.05-0.11)  |
| images saved as JPEG again, quality 75                         | 0.994 (0.98-1.00) | 0.05 (0.03-0.08)  |
| images of half the side and quality 75                         | 0.925 (0.85-0.96) | 0.19 (0.14-0.28)  |
| pixels normalised by ImageNet's mean and standard deviation    | 0.784             |                   |
| captions instead of images                                     | 0.609             |                   |
| red and blue exchanged                                         | 0.407             |                   |
| the same architecture trained on other images (mini-clip-full) | 0.360             |                   |
| other rows, or rows rotated by a random matrix                 | -0.03             |                   |
| rows whose mean was subtracted                                 | 0.946 (0.94-0.95) | 0.32 (0.32-0.33)  |
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from touchstone_contracts.steps import RowsCompared

from touchstone_retrieval.embedded_images import normalised
from touchstone_retrieval.ingest.given_embeddings import UnusableEmbeddings
from touchstone_retrieval.unusable_rows import usable_rows

AGREES = 0.85
"""Least agreement of a row, and least median."""
MOST_OFFSET = 0.3
"""Largest length of the mean difference between computed and given rows."""
FEWEST_ROWS = 4
"""Fewer decide nothing: what a link leads to may have changed."""
FEWEST_MOVED = 3
MOVED_SHARE = 0.1
"""So many of the compared rows, and at least FEWEST_MOVED, are found elsewhere where the order is another one."""
NOTHING = 1e-3
"""Length of a difference that is rounding."""
ROWS_AT_A_TIME = 65_536
FEWEST_CAPTIONS = 64
PERMUTATIONS = 64
CHANCE_DEVIATIONS = 4
"""By so many standard deviations of permuted rows captions must fit their own rows better."""
SHIFT_DEVIATIONS = 6
"""More, because there are 2 x MOST_SHIFT shifts to choose from."""
MOST_SHIFT = 64
COMPARED_IMAGES = 4096


@dataclass(frozen=True)
class Moved:
    """Rows of the sample whose computed embedding is given at another row."""

    rows: np.ndarray
    found: np.ndarray

    @property
    def words(self) -> str:
        shift, times = Counter((self.found - self.rows).tolist()).most_common(1)[0]
        if times >= max(FEWEST_MOVED, len(self.rows) / 2):
            return f"for {times} of these by {_rows_further(shift)}"
        return "by no common distance: the rows are permuted"


def require_agreement(
    rows: np.ndarray, computed: np.ndarray, given: np.ndarray, of: Literal["images", "captions"], location: str
) -> RowsCompared:
    """How the sampled `rows` (m,), m >= 1, of given (n, d) agree with computed (m, d), both L2-normalised;
    unusable rows of `given` are zero and not sampled.

    Raises UnusableEmbeddings, which says whether another order explains it."""
    mean = _mean(given)
    own = normalised(given[rows])
    agreement = _agreement(computed, own, mean)
    median, offset = float(np.median(agreement)), float(np.linalg.norm((computed - own).mean(axis=0)))
    moved = _moved(rows, computed, agreement, given, mean)
    another_order = len(moved.rows) >= max(FEWEST_MOVED, MOVED_SHARE * len(rows))
    if median >= AGREES and offset <= MOST_OFFSET and not another_order:
        return RowsCompared(of=of, rows=len(rows), agreement=round(median, 4))
    measured = (
        f"{location}: {len(rows)} rows were compared with the embeddings of their {of} that the index encoder "
        f"computes. Their median agreement is {median:.2f}, where 1 is the same embedding, 0 is that of another row "
        f"and at least {AGREES} is needed; the mean difference has length {offset:.2f}, of which at most {MOST_OFFSET} "
        "is allowed. "
    )
    if another_order:
        disagree = int((agreement < AGREES).sum())
        raise UnusableEmbeddings(
            f"{measured}The rows are in another order: of {disagree} rows that disagree, {len(moved.rows)} have their "
            f"embedding at another row of the file, {moved.words}. Write the embeddings in the order of the table"
        )
    raise UnusableEmbeddings(
        f"{measured}No other order explains it: the rows are of another encoder or other weights, or were prepared or "
        "normalised in another way. Register the encoder that made them and name it as the index encoder"
    )


def _agreement(computed: np.ndarray, own: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(m,): cosines after `mean` is subtracted; 1 where both are the mean."""
    alike = np.linalg.norm(computed - own, axis=1) <= NOTHING
    cosines: np.ndarray = np.einsum("md,md->m", _unit(computed - mean), _unit(own - mean))
    flat = (np.linalg.norm(own - mean, axis=1) <= NOTHING) & alike
    return np.where(flat, 1, cosines)


def _unit(differences: np.ndarray) -> np.ndarray:
    """Rows of length 1; what is only rounding is zero."""
    lengths = np.linalg.norm(differences, axis=1, keepdims=True)
    unit: np.ndarray = np.where(lengths > NOTHING, differences / np.maximum(lengths, NOTHING), 0)
    return unit


def _moved(rows: np.ndarray, computed: np.ndarray, agreement: np.ndarray, given: np.ndarray, mean: np.ndarray) -> Moved:
    lost = np.flatnonzero(agreement < AGREES)
    best, found = np.full(len(lost), -np.inf), np.zeros(len(lost), dtype=np.int64)
    wanted = _unit(computed[lost] - mean)
    for first, part in _parts(given):
        cosines = wanted @ _unit(np.where(usable_rows(part)[:, None], normalised(part) - mean, 0)).T
        nearest = cosines.argmax(axis=1)
        nearer = cosines[np.arange(len(lost)), nearest] > best
        best[nearer] = cosines[np.arange(len(lost)), nearest][nearer]
        found[nearer] = nearest[nearer] + first
    there = best >= AGREES
    return Moved(rows[lost][there], found[there])


def _mean(given: np.ndarray) -> np.ndarray:
    """float32 (d,): of the usable rows, which have length 1."""
    total, count = np.zeros(given.shape[1]), 0
    for _, part in _parts(given):
        total += normalised(part).sum(axis=0, dtype=np.float64)
        count += int(usable_rows(part).sum())
    return (total / max(count, 1)).astype(np.float32)


def _parts(given: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    return ((first, given[first : first + ROWS_AT_A_TIME]) for first in range(0, len(given), ROWS_AT_A_TIME))


def require_captions_fit(
    rows: np.ndarray, captions: np.ndarray, given: np.ndarray, rng: np.random.Generator, location: str
) -> RowsCompared:
    """The same without an image: embeddings of the captions (m, d), m >= FEWEST_CAPTIONS, must fit the given image
    rows (m,) of their own better than others.

    It finds another order, and encoders whose images have nothing to do with these texts; not one that was trained from
    the same weights. On 600 images of the miniverse the mean share of worse rows is 0.96, 0.92 with mini-clip-full
    and 0.44 to 0.50 for rows shifted, permuted or rotated."""
    centred = captions - captions.mean(axis=0)
    usable = np.flatnonzero(usable_rows(given))
    others = normalised(given[rng.choice(usable, min(len(usable), COMPARED_IMAGES), replace=False)])
    cosines = centred @ others.T
    share = _worse(cosines, centred, given[rows])
    # Captions that resemble each other are no independent trials, so chance is what permuted rows give.
    by_chance = [_worse(cosines, centred, given[rng.permutation(rows)]) for _ in range(PERMUTATIONS)]
    chance, error = float(np.mean(by_chance)), float(np.std(by_chance))
    if share >= chance + CHANCE_DEVIATIONS * error:
        return RowsCompared(of="captions_with_images", rows=len(rows), agreement=round(share, 4))
    shifts = [shift for shift in range(-MOST_SHIFT, MOST_SHIFT + 1) if shift and abs(shift) < len(given)]
    by_shift = {shift: _worse(cosines, centred, given[(rows + shift) % len(given)]) for shift in shifts}
    best = max(by_shift, key=by_shift.__getitem__, default=0)
    if best and by_shift[best] >= chance + SHIFT_DEVIATIONS * error:
        reason = f"The rows are in another order: captions fit the rows that are {_rows_further(best)}"
    else:
        reason = "No shift explains it: the rows are permuted, or of another encoder than the index encoder"
    raise UnusableEmbeddings(
        f"{location}: too few images could be downloaded, so {len(rows)} captions were embedded by the index encoder. "
        f"A caption fits its own row better than {100 * share:.0f} % of the other rows; by chance it would be "
        f"{100 * chance:.0f} %. {reason}. Write the embeddings of the index encoder in the order of the table"
    )


def _worse(cosines: np.ndarray, captions: np.ndarray, own: np.ndarray) -> float:
    """Mean share of a caption's cosines (m, images) that are smaller than the one with `own`."""
    mine = np.einsum("md,md->m", captions, normalised(own))[:, None]
    return float(((cosines < mine).mean() + (cosines <= mine).mean()) / 2)


def _rows_further(shift: int) -> str:
    return f"{abs(shift)} {'row' if abs(shift) == 1 else 'rows'} further {'down' if shift > 0 else 'up'}"


def sampled_captions(captions: Sequence[str], usable: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `most` of the rows that are usable, bool (n,), each with a caption of its own, in rising order."""
    first: dict[str, int] = {}
    for row in rng.permutation(np.flatnonzero(usable)).tolist():
        if captions[row]:
            first.setdefault(captions[row], row)
        if len(first) == most:
            break
    return np.array(sorted(first.values()), dtype=np.int64)
