"""What a run trains towards where the descriptions check its labels: shares of the classes for each training image.

Shapes: N images, T of the K classes that are kept of each, B images of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sightwords.artifacts.run_folder import RunFolder
from sightwords.errors import ArtifactError
from sightwords.files import atomic_path

NAME = "labels.npz"


@dataclass(frozen=True)
class LabelShares:
    """How likely it is of each image that it is of a class, in columns that worker processes share.

    Attributes:
        classes: the likeliest classes of each image, int32, (N, T).
        shares: their probabilities, float32, (N, T); rows sum to 1.
        num_classes: K.
        wrong: share of the labels that are wrong, by estimate.
    """

    classes: np.ndarray
    shares: np.ndarray
    num_classes: int
    wrong: float

    def __call__(self, indices: np.ndarray) -> Tensor:
        """Return the shares of the images at `indices`, float32, (B, K)."""
        targets = torch.zeros(len(indices), self.num_classes)
        return targets.scatter_(
            1, torch.from_numpy(self.classes[indices]).long(), torch.from_numpy(self.shares[indices])
        )


def save_labels(folder: RunFolder, labels: LabelShares, data: str) -> None:
    """Write the file.

    Args:
        folder: the run.
        labels: what to write.
        data: stands for images, labels and texts that it is made of.
    """
    folder.folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder.folder / NAME) as temporary, temporary.open("wb") as file:
        np.savez(
            file, classes=labels.classes, shares=labels.shares, num_classes=labels.num_classes, wrong=labels.wrong,
            data=np.array(data),
        )  # fmt: skip


def load_labels(folder: RunFolder, data: str) -> LabelShares | None:
    """Return what was saved, None where there is nothing, or something that was made of other data.

    Raises:
        ArtifactError: the file is damaged.
    """
    path = folder.folder / NAME
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            if str(found["data"]) != data:
                return None
            return LabelShares(found["classes"], found["shares"], int(found["num_classes"]), float(found["wrong"]))
    except Exception as error:  # NumPy and zipfile raise errors of many kinds for a damaged file
        raise ArtifactError(f"{path} is damaged ({error}). Delete it: it is made again.") from None
