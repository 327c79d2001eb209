"""The objectives by name, as `--align.loss` takes them: which function, with which settings. Imports nothing heavy.

A new objective is one function (see `sightwords.align.pairs`) and one line in `OBJECTIVES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sightwords.errors import UnknownNameError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """What a name of `--align.loss` stands for.

    Attributes:
        path: `module:function`, where the function takes `Pairs` and the settings and returns the loss of each row.
        settings: keyword arguments of the function.
        learned: further keyword arguments that are learned, and the number that each starts from.
        temperature: "chosen" (a number, learned if asked for), "learned" always, or "none".
        text_norm: what an image's text is divided by before it is mixed with another's: 2 = its length, 1 = its sum,
            None = nothing, since its length counts.
        needs_class_text: whether it reads the mean text vector of each class.
        projector: the projector where none is chosen, "linear" or "mlp".
        searchable: whether an image comes to lie where its text does, so that one can be searched by the other.
    """

    path: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    learned: Mapping[str, float] = field(default_factory=dict)
    temperature: Literal["chosen", "learned", "none"] = "chosen"
    text_norm: Literal[1, 2] | None = 2
    needs_class_text: bool = False
    projector: Literal["linear", "mlp"] = "mlp"
    searchable: bool = True

    def load(self) -> Callable[..., Tensor]:
        """Return the function: `Pairs` and settings -> losses (B,)."""
        module, _, name = self.path.partition(":")
        function: Callable[..., Tensor] = getattr(importlib.import_module(module), name)
        return function


CROSS_ENTROPY = "sightwords.align.contrastive:cross_entropy"

OBJECTIVES: dict[str, Objective] = {
    "clip": Objective(CROSS_ENTROPY),
    "contrastive": Objective(CROSS_ENTROPY, {"both_sides": False}),
    "cosine": Objective("sightwords.align.regression:cosine", temperature="none"),
    "mse": Objective("sightwords.align.regression:mse", temperature="none"),
    "sigmoid": Objective("sightwords.align.contrastive:sigmoid", learned={"bias": -10.0}, temperature="learned"),
    "soft_clip": Objective(CROSS_ENTROPY, {"target": "similar_texts"}),
    "label_clip": Objective(CROSS_ENTROPY, {"target": "same_class"}),
    "soft_label_clip": Objective(CROSS_ENTROPY, {"target": "similar_in_class"}),
    "centered_clip": Objective(CROSS_ENTROPY, {"normalize": False, "center": True}, text_norm=None, projector="linear"),
    "relational": Objective("sightwords.align.regression:relational", temperature="none", searchable=False),
    "tokens": Objective("sightwords.align.regression:tokens", temperature="none", text_norm=1, searchable=False),
    "class_mean": Objective("sightwords.align.regression:class_mean", needs_class_text=True),
}


def find_objective(name: str) -> Objective:
    """Return what a name stands for.

    Raises:
        UnknownNameError: if there is no such objective.
    """
    if name not in OBJECTIVES:
        raise UnknownNameError("alignment loss", name, OBJECTIVES)
    return OBJECTIVES[name]
