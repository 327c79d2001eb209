"""Which images a person should label next: those whose label would tell most about the others.

A label tells about images whose texts are alike: the squared cosine of two centered vectors is how much. What there is
to tell of an image is the entropy of its class. The images are taken one by one, each for what the ones before it have
left open: uncertainty weighted by density (Settles and Craven 2008, "An analysis of active learning strategies for
sequence labeling tasks"), without choosing the same twice.

Shapes: N images, D width of the text vectors.
"""

from __future__ import annotations

import numpy as np

MAX_CANDIDATES = 4096


def suggest(vectors_ND: np.ndarray, entropy_N: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of at most `count` images, int64, the most telling first; none that is certain already.

    Args:
        vectors_ND: text vectors, float32.
        entropy_N: of the class probabilities of each image, in nats.
        count: images to suggest.
    """
    candidates = np.argsort(-entropy_N, kind="stable")[: min(MAX_CANDIDATES, int((entropy_N > 0).sum()))]
    centered = vectors_ND[candidates] - vectors_ND.mean(0)
    centered /= np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-9)
    alike = np.maximum(centered @ centered.T, 0) ** 2
    open_N, chosen = entropy_N[candidates].astype(np.float64), list[int]()
    for _ in range(min(count, len(candidates))):
        gain = alike @ open_N
        gain[chosen] = 0
        best = int(gain.argmax())
        if gain[best] <= 1e-9:
            break
        chosen.append(best)
        open_N *= 1 - alike[best]
    return candidates[chosen]
