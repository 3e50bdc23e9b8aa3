"""CLIP score: how well an image fits its own class (paper section 3.1)."""

import numpy as np


def own_class_scores(images: np.ndarray, class_vectors: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
    """Cosine of each image with the text vector of its own class, and of no other.

    images (n, d) and class_vectors (classes, d) are L2-normalised; class_ids (n,) index class_vectors. Returns (n,)
    cosines, not cosine x 100: thresholds in the paper use cosines."""
    scores: np.ndarray = np.einsum("nd,nd->n", images, class_vectors[class_ids])
    return scores
