"""From the network's features to the space of its text, and from a sentence to the same space.

Shapes: B images, F width of the feature, D width of the text vectors.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from sightwords.align import TargetTransform, build_projector, normalize_targets
from sightwords.align.projector import ProjectorKind, ProjectorNorm
from sightwords.artifacts.embedding_set import EmbeddingSet
from sightwords.artifacts.run_folder import RunFolder
from sightwords.artifacts.run_projector import ProjectorInfo, TextSpace, load_projectors
from sightwords.encoders import reopen_encoder
from sightwords.errors import ArtifactError, ConfigError


class Projection:
    """The projector of a run into the space of one of its embedding sets.

    Args:
        info: what the run's projectors are.
        space: the chosen one.
        tensors: its weights: `projector.*`, and `mean` and `matrix` where there are any.

    Attributes:
        info: what the run's projectors are.
        space: the chosen one.

    Raises:
        ArtifactError: the weights do not fit.
    """

    def __init__(self, info: ProjectorInfo, space: TextSpace, tensors: dict[str, Tensor]) -> None:
        self.info, self.space = info, space
        kind, norm = cast(ProjectorKind, space.kind), cast(ProjectorNorm, space.norm)
        self._projector = build_projector(kind, space.in_features, space.out_features, norm).eval()
        own = {name.removeprefix("projector."): t for name, t in tensors.items() if name.startswith("projector.")}
        try:
            self._projector.load_state_dict(own)
        except RuntimeError as error:
            raise ArtifactError(f"The run's projector does not fit what projector.json says: {error}") from None
        self._transform = TargetTransform(tensors.get("mean"), tensors.get("matrix"))

    @torch.inference_mode()
    def of_images(self, features_BF: Tensor) -> Tensor:
        """Return where images lie in the text's space, unit length, float32, (B, D), on the features' device."""
        return normalize_targets(self._projector.to(features_BF.device)(features_BF))

    @torch.inference_mode()
    def of_texts(self, vectors_BD: Tensor) -> Tensor:
        """Return text vectors of unit length as the training saw them: as they are, less their mean, or whitened."""
        transformed: Tensor = self._transform(vectors_BD)
        return transformed

    def of_sentence(self, sentence: str, device: str = "auto") -> np.ndarray:
        """Return where a sentence lies, float32, (1, D), unit length.

        Raises:
            ConfigError: it is empty, or longer than the encoder takes.
            ModelError: the encoder cannot be had, or its weights are not those of the training.
        """
        if not sentence.strip():
            raise ConfigError("The sentence to search for is empty.")
        encoder = reopen_encoder(self.space.encoder, self.space.revision, self.space.words, device)
        length, limit = encoder.num_tokens([sentence])[0], encoder.info.max_tokens
        if limit is not None and length > limit:
            raise ConfigError(f"The sentence has {length} tokens; {self.space.encoder} takes {limit}. Shorten it.")
        encoded = normalize_targets(torch.from_numpy(encoder.encode([sentence])))
        vector = np.array(self.of_texts(encoded), np.float32)
        if not vector.any():
            raise ConfigError(f"{self.space.encoder} knows none of the words of {sentence!r}. Use other words.")
        return vector

    def check_set(self, embeddings: EmbeddingSet) -> None:
        """Refuse an embedding set whose vectors are of another encoder than the run was taught by.

        Raises:
            ArtifactError: it is another one.
        """
        found = str(embeddings.meta.get("encoder", "")), str(embeddings.meta.get("revision", ""))
        if found != (self.space.encoder, self.space.revision) or embeddings.dimension != self.space.out_features:
            raise ArtifactError(
                f"{embeddings.folder} holds vectors of {found[0]} (weights {found[1][:12] or 'unknown'}), and the run "
                f"was taught by {self.space.encoder} (weights {self.space.revision[:12] or 'unknown'}). Name the set "
                "that it was taught by with --embeddings."
            )


def open_projection(folder: RunFolder, number: int = 1) -> Projection:
    """Return the projector of a run into the space of its `number`-th embedding set, from 1.

    Raises:
        ArtifactError: the run keeps none; the message says why.
        ConfigError: it was taught by fewer sets.
    """
    info, tensors = load_projectors(folder)
    if not 1 <= number <= len(info.spaces):
        raise ConfigError(f"--space is {number}; {folder.folder} was taught by {len(info.spaces)} embedding sets.")
    lead = f"{number - 1}."
    own = {name.removeprefix(lead): tensor for name, tensor in tensors.items() if name.startswith(lead)}
    return Projection(info, info.spaces[number - 1], own)
