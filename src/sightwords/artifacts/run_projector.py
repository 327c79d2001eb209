"""The projectors of a run: from the network's features to the space of its text, for searching by words.

Two files beside `model.safetensors`, which stays the plain network: `projector.safetensors` has the weights, and what
text vectors go through before they are compared; `projector.json` says what they are. The run needs no embedding set to
be searched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from sightwords.artifacts.run_folder import RunFolder
from sightwords.errors import ArtifactError
from sightwords.files import atomic_path, write_text

WEIGHTS, FACTS = "projector.safetensors", "projector.json"


@dataclass(frozen=True)
class TextSpace:
    """The space of one embedding set, and the projector into it.

    Attributes:
        embeddings: folder of the embedding set, as the training named it.
        encoder: ID of the text encoder.
        revision: which weights of it.
        kind: `linear` or `mlp`.
        norm: `batch` or `none`, inside the MLP.
        in_features: width F of the network's feature.
        out_features: width D of the text vectors.
        targets: `raw`, `centered` or `whitened`: what was done to the text vectors; mean and matrix are in the weights.
        words: of `builtin:words` its vocabulary, as the embedding set has it.
    """

    embeddings: str
    encoder: str
    revision: str
    kind: str
    norm: str
    in_features: int
    out_features: int
    targets: str
    words: dict[str, Any] | None = None


@dataclass(frozen=True)
class ProjectorInfo:
    """What the projectors of a run are.

    Attributes:
        loss: objective that they were trained by.
        features: module whose output they read, None for what the classifier reads.
        epoch: epoch whose projectors these are, that of the weights.
        is_averaged: whether they are moving averages, as the weights then are.
        spaces: one for each embedding set, in the order of `--embeddings`; none where the objective does not bring
            images and texts together.
    """

    loss: str
    features: str | None
    epoch: int
    is_averaged: bool
    spaces: list[TextSpace] = field(default_factory=list)


def save_projectors(folder: RunFolder, info: ProjectorInfo, tensors: Mapping[str, Tensor]) -> None:
    """Write both files, the facts last: where they are, both are whole.

    Args:
        folder: the run.
        info: what the projectors are.
        tensors: of space i `i.projector.*`, and `i.mean` (D,) and `i.matrix` (D, D) where there are any.
    """
    if info.spaces:
        plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        with atomic_path(folder.folder / WEIGHTS) as temporary:
            save_file(plain, temporary, metadata={"format": "pt"})
    write_text(folder.folder / FACTS, json.dumps(asdict(info), indent=2, ensure_ascii=False) + "\n")


def load_projectors(folder: RunFolder) -> tuple[ProjectorInfo, dict[str, Tensor]]:
    """Return what `save_projectors` wrote.

    Raises:
        ArtifactError: this is no run, it has no projector into a common space (the message says why), or a file is
            damaged.
    """
    if not (folder.folder / FACTS).is_file():
        raise ArtifactError(_why_none(folder))
    try:
        values = json.loads((folder.folder / FACTS).read_text(encoding="utf-8"))
        spaces = [TextSpace(**space) for space in values.pop("spaces")]
        info = ProjectorInfo(**values, spaces=spaces)
        tensors = dict(load_file(folder.folder / WEIGHTS)) if spaces else {}
    except Exception as error:  # safetensors raises an error of its own for a damaged file
        raise ArtifactError(f"The projector in {folder.folder} is damaged ({error}). Train again.") from None
    if not spaces:
        raise ArtifactError(
            f"{folder.folder} was trained by the objective {info.loss}, which does not bring images and texts together "
            "in one space, so it cannot be searched by words. Train with another, such as --align.loss clip."
        )
    return info, tensors


def _why_none(folder: RunFolder) -> str:
    config, lead = folder.config(), f"{folder.folder} keeps no projector into the text's space"
    if not config.get("embeddings"):
        return f"{lead}: it was trained on labels alone. Train with: sightwords train IMAGES --embeddings E"
    if not folder.weights_path.is_file():
        return f"{lead}: the training has not finished. Finish it with: sightwords train ... --resume"
    return f"{lead}: an earlier version of sightwords trained it. Train again."
