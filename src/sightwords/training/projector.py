"""The projectors that a training ends with: kept beside the plain network, so that it can be searched by words."""

from __future__ import annotations

from collections.abc import Sequence

from sightwords.align import OBJECTIVES, AlignmentHead
from sightwords.models.run_folder import ProjectorInfo, RunFolder, TextSpace, save_projectors
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.training.alignment import projector_tensors
from sightwords.training.config import TrainConfig
from sightwords.training.loop import Loop


def keep_projectors(folder: RunFolder, config: TrainConfig, loop: Loop, sets: Sequence[EmbeddingSet]) -> None:
    """Write the projectors that belong to the weights of the end: of the same evaluation, averaged where they are.

    Args:
        folder: the run.
        config: options of the training.
        loop: the training, at its end.
        sets: the embedding sets, in the order of the options.
    """
    heads, best = loop.evaluated_heads(), loop.state.best
    if heads is None:
        return
    chosen = best.projectors if best.patience else {}
    epoch = best.epoch if best.patience else loop.state.step // loop.order.steps_per_epoch
    spaces = [_space(config, head, one) for head, one in zip(heads.pooled_heads(), sets, strict=True)]
    kept = spaces if OBJECTIVES[config.align.loss].searchable else []
    info = ProjectorInfo(config.align.loss, config.features, epoch, bool(config.ema), kept)
    save_projectors(folder, info, chosen or projector_tensors(heads))


def _space(config: TrainConfig, head: AlignmentHead, embeddings: EmbeddingSet) -> TextSpace:
    meta = embeddings.meta
    transform = head.transform
    targets = "raw" if transform is None else "centered" if transform.matrix is None else "whitened"
    return TextSpace(
        str(embeddings.folder),
        str(meta.get("encoder", "")),
        str(meta.get("revision", "")),
        head.projector_kind,
        head.projector_norm,
        head.in_features,
        head.out_features,
        targets,
        meta.get("words"),
    )
