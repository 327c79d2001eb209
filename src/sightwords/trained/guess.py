"""From a network's outputs to the classes that it names.

Shapes: B images, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sightwords.artifacts.run_folder import NetworkInfo


@dataclass(frozen=True)
class Guess:
    """A class that an image may show.

    Attributes:
        class_id: as the training data has it.
        class_name: readable.
        probability: in [0, 1]; of a network of several labels each stands alone.
    """

    class_id: str
    class_name: str
    probability: float


def guesses(info: NetworkInfo, logits_BK: Tensor, count: int) -> list[list[Guess]]:
    """Return the most probable classes of each image, the most probable first.

    Args:
        info: what the network is.
        logits_BK: its outputs, shape (B, K).
        count: classes for each image; fewer come where there are fewer.
    """
    logits = logits_BK.float().cpu()
    shares = logits.sigmoid() if info.multi_label else logits.softmax(1)
    values, places = shares.topk(min(count, info.num_classes))
    return [
        [Guess(info.class_ids[place], info.class_names[place], value) for value, place in zip(row, own, strict=True)]
        for row, own in zip(values.tolist(), places.tolist(), strict=True)
    ]
