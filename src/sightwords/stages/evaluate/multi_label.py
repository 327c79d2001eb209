"""Mean average precision where an image may have several classes."""

from __future__ import annotations

from torch import Tensor
from torchmetrics.functional.classification import multilabel_average_precision


def multi_label_metrics(logits_NK: Tensor, targets_NK: Tensor) -> dict[str, float]:
    """Return `map`: average precision of each class that occurs, averaged over these classes, in [0, 1].

    Args:
        logits_NK: outputs, shape (N, K).
        targets_NK: 0 or 1, shape (N, K).
    """
    occurring = targets_NK.sum(0) > 0
    logits, targets = logits_NK[:, occurring].sigmoid(), targets_NK[:, occurring].long()
    if targets.shape[1] < 2:  # the library's multilabel form needs two classes
        from torchmetrics.functional.classification import binary_average_precision

        return {"map": float(binary_average_precision(logits[:, 0], targets[:, 0]).item())}
    return {"map": float(multilabel_average_precision(logits, targets, targets.shape[1], average="macro").item())}
