"""All witnesses heard, and their ranking.

Shapes: N images, D width of the text vectors, F width of the image features, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sightwords.labels.noise import folds_of
from sightwords.labels.ranking import Ranking, Verdict, by_centroid, by_probe, judged, rank
from sightwords.progress import Progress


@dataclass(frozen=True)
class Findings:
    """What was said of each label.

    Attributes:
        agreement: cosine of the text with the mean text of each class.
        text: probabilities by a linear classifier of the text vectors.
        image: probabilities by a linear classifier of image features, where there are any.
        ranking: how suspicious each label is.
    """

    agreement: Verdict
    text: Verdict
    image: Verdict | None
    ranking: Ranking


def find(
    vectors: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    num_classes: int,
    features: np.ndarray | None = None,
    num_folds: int = 10,
    seed: int = 0,
    device: torch.device | None = None,
    show: bool = True,
) -> Findings:
    """Hear all witnesses.

    Args:
        vectors: text vectors, float32, (N, D).
        labels: classes, int64, (N,).
        groups: the same number for images that share a text, (N,).
        num_classes: K.
        features: image features, float32, (N, F); a row of NaN where an image could not be read.
        num_folds: parts, each judged by the others.
        seed: of the parts.
        device: where to compute; None is the CPU.
        show: whether to show progress.
    """
    folds = folds_of(groups, labels, num_folds, seed)
    text = torch.from_numpy(vectors).to(device or "cpu")
    with Progress("Auditing", len(labels) * (2 + (features is not None)), "judgments", enabled=show) as progress:
        agreement = judged(by_centroid, text, labels, folds, num_classes, progress.advance)
        probe = judged(by_probe, text, labels, folds, num_classes, progress.advance)
        image = None
        if features is not None:
            seen = ~np.isnan(features[:, 0])
            pixels = torch.from_numpy(np.where(seen[:, None], features, features[seen].mean(0))).to(text.device)
            image = _silenced(judged(by_probe, pixels, labels, folds, num_classes, progress.advance), ~seen)
    probes = [probe] if image is None else [probe, image]
    return Findings(agreement, probe, image, rank(agreement, probes))


def _silenced(verdict: Verdict, unseen: np.ndarray) -> Verdict:
    """Return a verdict that says neither good nor bad of images that were not seen."""
    middle = np.median(verdict.own)
    own, best = np.where(unseen, middle, verdict.own), np.where(unseen, middle, verdict.best)
    return Verdict(own, best, verdict.other)
