"""Does the audit find wrong labels? On data whose labels were swapped on purpose: precision and recall, over seeds.

    python benchmarks/audit.py IMAGES --embeddings E [--share 0.05] [--seeds 10] [--run RUN]

A share of the labels, drawn afresh for each seed, becomes another class, drawn evenly. The audit is that of `sightwords
audit` (each image is scored by what is learned from others, never from one with the same text) and sees the swapped
labels alone. Labels that were wrong before count as right ones, so that precision is a little too low.

- precision at the share: of as many images as were swapped, the most suspicious ones, how many were swapped (this is
  the recall at that depth too)
- recall at twice the share: how many of the swapped ones are among twice as many images
- average precision; and precision and recall of the images that the audit calls probably wrong by itself
- each score alone, and chance

Means over the seeds with 95% intervals (Student's t) of the mean over such draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import t as student_t

from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.labels.audit import AuditData, LabelScores, audit_data, image_features, score_labels
from sightwords.labels.config import AuditConfig
from sightwords.text.embedding_set import EmbeddingSet


def swapped(labels: np.ndarray, num_classes: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which a share is another class, drawn evenly, and which ones these are."""
    draw = np.random.default_rng(seed)
    chosen = draw.choice(len(labels), round(share * len(labels)), replace=False)
    wrong = labels.copy()
    wrong[chosen] = (wrong[chosen] + 1 + draw.integers(0, num_classes - 1, len(chosen))) % num_classes
    is_wrong = np.zeros(len(labels), bool)
    is_wrong[chosen] = True
    return wrong, is_wrong


def precision_at(goodness: np.ndarray, is_wrong: np.ndarray, count: int) -> float:
    """Return the share of wrong labels among the `count` images of the lowest values."""
    return float(is_wrong[np.argsort(goodness, kind="stable")[:count]].mean())


def average_precision(goodness: np.ndarray, is_wrong: np.ndarray) -> float:
    """Return the mean, over the wrong labels, of the precision at the depth of each."""
    ordered = is_wrong[np.argsort(goodness, kind="stable")]
    return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1))[ordered].mean())


def figures(scores: LabelScores, is_wrong: np.ndarray) -> dict[str, float]:
    """Return what is shown of one audit."""
    count, all_together, suspect = int(is_wrong.sum()), -scores.suspicion, scores.is_suspect
    alone = {"text similarity alone": scores.similarity.margin, "text probability alone": scores.text.own}
    if scores.image is not None:
        alone["image probability alone"] = scores.image.own
    return {
        "precision at the share": precision_at(all_together, is_wrong, count),
        "recall at twice the share": 2 * precision_at(all_together, is_wrong, 2 * count),
        "average precision": average_precision(all_together, is_wrong),
        "probably wrong: precision": float(is_wrong[suspect].mean()) if suspect.any() else 0.0,
        "probably wrong: recall": float(suspect[is_wrong].mean()),
        **{f"precision at the share, {name}": precision_at(values, is_wrong, count) for name, values in alone.items()},
        "precision at the share, chance": float(is_wrong.mean()),
    }


def taken(data: AuditData, kept: np.ndarray) -> AuditData:
    """Return the images at some positions."""
    features = None if data.features is None else data.features[kept]
    arrays = {"labels": data.labels[kept], "vectors": data.vectors[kept], "groups": data.groups[kept]}
    return replace(data, splits={}, features=features, **arrays)


def interval(values: Sequence[float]) -> str:
    """Return the mean with its 95% interval, in percent."""
    mean = np.mean(values)
    if len(values) < 2:
        return f"{mean:6.1%}"
    half = student_t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{mean:6.1%} [{mean - half:.1%}, {mean + half:.1%}]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Swap, audit, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.05, help="of the labels that are swapped")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--run", type=Path, help="a run whose image features are used too")
    parser.add_argument("--one-per-text", action="store_true", help="take one image of those that share a text")
    options = parser.parse_args(arguments)
    dataset = open_dataset(ImagesConfig(options.images), show=False)
    data = audit_data(dataset, EmbeddingSet(options.embeddings))
    if options.run:
        config = AuditConfig(options.images, Path(), embeddings=options.embeddings, run=options.run, workers=0)
        data = replace(data, features=image_features(config, data.splits)[0])
    if options.one_per_text:
        data = taken(data, np.unique(data.groups, return_index=True)[1])
    found = []
    for seed in range(options.seeds):
        labels, is_wrong = swapped(data.labels, len(data.class_ids), options.share, seed)
        found.append(figures(score_labels(replace(data, labels=labels), seed=seed, show=False), is_wrong))
    num_texts = len(np.unique(data.groups))
    print(
        f"{len(data.labels)} images, {num_texts} distinct texts, {len(data.class_ids)} classes, {options.seeds} seeds"
    )
    print(f"{options.share:.0%} of the labels swapped: {int(is_wrong.sum())}")
    for name in found[0]:
        print(f"{name:50} {interval([one[name] for one in found])}")


if __name__ == "__main__":
    main()
