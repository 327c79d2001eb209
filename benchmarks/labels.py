"""How many labels do descriptions save? `sightwords label` on a labeled set, of whose labels it sees some or none.

    python benchmarks/labels.py photos --classes names.csv [--seeds 5]

`photos` holds train/CLASS/* and descriptions.csv (image,text) of every training image. Every figure is the part of the
images *without* a label, in percent, whose label comes out right; where labels are wrong, of all images.

- `nearest name`: the class whose name's vector is nearest, by the same vectors, as CLIP is used without labels; with
  `centered` both sides less their mean
- `label`: all that `sightwords label` does; `no names`: the same without class names
- `text classifier`: logistic regression of the text vectors (scikit-learn), fitted to the labels that are there
- `expected`: what `label` says of its own accuracy, with its 95 % interval
- 95 % of what all labels give: how many labels it takes, drawn at random or as `--suggest` proposes, in rounds of ten
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.special import xlogy
from sklearn.linear_model import LogisticRegression

import sightwords
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.labels.pseudo_labels import InferredLabels, infer_labels, name_vectors
from sightwords.labels.suggest import suggest

ROUND = 10  # labels that are suggested at once


class Photos:
    """The described training images of a set, with true labels (N,), vectors (N, D) and names' vectors (K, D)."""

    def __init__(self, folder: Path, classes: Path | None, encoder: str, scratch: Path) -> None:
        texts, database = folder / "descriptions.csv", scratch / "descriptions.db"
        sightwords.import_descriptions(sightwords.ImportConfig(texts, images=str(folder), out=database))
        sightwords.embed(sightwords.EmbedConfig(database, encoder=encoder, out=scratch / "embeddings"))
        dataset = open_dataset(ImagesConfig(str(folder), classes=classes), ("train",), show=False)
        images = dataset.split("train")
        self.set = sightwords.EmbeddingSet(scratch / "embeddings")
        images = images.subset(np.flatnonzero(self.set.rows_of(images.keys()).num_texts > 0))
        self.rows, self.true, self.num_classes = (
            self.set.rows_of(images.keys()),
            images.first_labels(),
            len(dataset.class_ids),
        )
        self.vectors, self.names = self.set.means(self.rows), name_vectors(dataset.class_names, self.set)

    def infer(self, labels: np.ndarray, names: bool = True, noise: float | None = None) -> InferredLabels:
        """Return what comes of labels, (N,), -1 where there is none."""
        used = self.names if names else None
        return infer_labels(labels, self.num_classes, self.set, self.rows, used, noise, show=False)

    def right(self, found: np.ndarray, of: np.ndarray | None = None) -> float:
        """Return the part of labels (N,) that are right, in percent, of some or all images."""
        of = np.ones(len(self.true), bool) if of is None else of
        return 100 * float((found == self.true)[of].mean())

    def labels_of(self, per_class: int, seed: int) -> np.ndarray:
        """Return labels of which each class has so many, drawn at random, (N,)."""
        order = np.random.default_rng(seed).permutation(len(self.true))
        labels = np.full(len(self.true), -1)
        for one in range(self.num_classes):
            labels[[i for i in order if self.true[i] == one][:per_class]] = one
        return labels


def centered(vectors: np.ndarray) -> np.ndarray:
    """Return vectors less their mean, at unit length."""
    moved = vectors - vectors.mean(0)
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True))


def without_labels(photos: Photos) -> None:
    """Print what names alone give."""
    none = np.full(len(photos.true), -1)
    found = photos.infer(none)
    low, high = (100 * bound for bound in found.interval)
    nearest = photos.right((photos.vectors @ photos.names.T).argmax(1))
    near = photos.right((centered(photos.vectors) @ centered(photos.names).T).argmax(1))
    print("| no labels | right | expected |\n|---|---|---|")
    print(f"| nearest name | {nearest:.1f} | |\n| nearest name, centered | {near:.1f} | |")
    print(f"| label | {photos.right(found.targets.classes[:, 0]):.1f} | {100 * (found.accuracy or 0):.1f} "
          f"[{low:.1f}, {high:.1f}] |\n")  # fmt: skip


def with_labels(photos: Photos, num_seeds: int) -> None:
    """Print what some labels add."""
    print("| labels a class | label | expected | no names | text classifier |\n|---|---|---|---|---|")
    for per_class in (1, 2, 5, 10, 20):
        figures = []
        for seed in range(num_seeds):
            labels = photos.labels_of(per_class, seed)
            open_ = labels < 0
            found, bare = photos.infer(labels, noise=0.0), photos.infer(labels, names=False, noise=0.0)
            classifier = LogisticRegression(C=100, max_iter=1000).fit(photos.vectors[~open_], labels[~open_])
            figures.append(
                [
                    photos.right(found.targets.classes[:, 0], open_),
                    100 * (found.accuracy or 0),
                    photos.right(bare.targets.classes[:, 0], open_),
                    photos.right(classifier.predict(photos.vectors), open_),
                ]
            )
        print(f"| {per_class} | " + " | ".join(f"{one:.1f}" for one in np.mean(figures, 0)) + " |")
    print()


def with_wrong_labels(photos: Photos, num_seeds: int) -> None:
    """Print what becomes of labels some of which are wrong: uniformly, or as the most similar class."""
    alike = centered(photos.names) @ centered(photos.names).T - 2 * np.eye(photos.num_classes)
    print("| wrong labels | right before | right after | estimated noise | expected |\n|---|---|---|---|---|")
    for part, mistaken in ((0.05, False), (0.2, False), (0.5, False), (0.2, True), (0.4, True)):
        figures = []
        for seed in range(num_seeds):
            draw = np.random.default_rng(seed)
            is_wrong = draw.random(len(photos.true)) < part
            others = (photos.true + draw.integers(1, photos.num_classes, len(photos.true))) % photos.num_classes
            labels = np.where(is_wrong, alike.argmax(1)[photos.true] if mistaken else others, photos.true)
            found = photos.infer(labels)
            after = photos.right(found.targets.classes[:, 0])
            figures.append([photos.right(labels), after, 100 * found.targets.label_noise, 100 * (found.accuracy or 1)])
        kind = "the most similar class" if mistaken else "any class"
        print(f"| {part:.0%}, {kind} | " + " | ".join(f"{one:.1f}" for one in np.mean(figures, 0)) + " |")
    print()


def labels_needed(photos: Photos, goal: float, names: bool, draw: np.random.Generator | None) -> int | None:
    """Return how many labels it takes to have so many percent of all labels right, drawn or else suggested.

    None where nothing more is suggested before that.
    """
    labels = np.full(len(photos.true), -1)
    while True:
        known = int((labels >= 0).sum())
        entropy = np.ones(len(labels))
        if names or known >= photos.num_classes:
            found = photos.infer(labels, names, noise=0.0).targets
            if photos.right(found.classes[:, 0]) >= goal:
                return known
            entropy = -xlogy(found.probabilities, found.probabilities).sum(1)
        unlabeled = np.flatnonzero(labels < 0)
        entropy[labels >= 0] = 0
        chosen = suggest(photos.vectors, entropy, ROUND) if draw is None else draw.permutation(unlabeled)[:ROUND]
        if not len(chosen):
            return None
        labels[chosen] = photos.true[chosen]


def print_labels_needed(photos: Photos, num_seeds: int) -> None:
    """Print how many labels reach 95 % of what all labels give, chosen in two ways, with names and without."""
    folds = np.random.default_rng(0).permutation(len(photos.true)) % 5
    right = []
    for fold in range(5):  # what all labels give: of each fifth, by the labels of the others
        found = photos.infer(np.where(folds == fold, -1, photos.true), noise=0.0)
        right.append(photos.right(found.targets.classes[:, 0], folds == fold))
    goal = 0.95 * float(np.mean(right))
    print(f"All labels give {np.mean(right):.1f} %; 95 % of that are {goal:.1f} %.\n")
    print("| labels needed | suggested | at random |\n|---|---|---|")
    for names in (True, False):
        drawn = [labels_needed(photos, goal, names, np.random.default_rng(seed)) or 0 for seed in range(num_seeds)]
        suggested = labels_needed(photos, goal, names, None)
        shown = "not reached" if suggested is None else suggested
        print(f"| {'with names' if names else 'no names'} | {shown} | {np.mean(drawn):.0f} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--classes", type=Path)
    parser.add_argument("--encoder", default="builtin:minilm")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args(arguments)
    with TemporaryDirectory() as scratch:
        photos = Photos(given.photos, given.classes, given.encoder, Path(scratch))
        print(f"\n{len(photos.true)} images, {photos.num_classes} classes, {given.encoder}, {given.seeds} seeds\n")
        without_labels(photos)
        with_labels(photos, given.seeds)
        with_wrong_labels(photos, given.seeds)
        print_labels_needed(photos, given.seeds)


if __name__ == "__main__":
    main()
