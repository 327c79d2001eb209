"""The card of a run: what the network was made from, for people who find the folder later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sightwords.artefacts.embedding_set import EmbeddingSet
from sightwords.artefacts.run_folder import RunFolder
from sightwords.data.catalog import Catalog
from sightwords.files import write_text


def write_card(folder: RunFolder, catalog: Catalog, texts: Sequence[tuple[EmbeddingSet, int]]) -> None:
    """Write `card.md`: network, data, text with its describers, encoder and licence where known, and figures.

    Args:
        folder: the run.
        catalog: the images.
        texts: embedding sets, each with the number of training images that it describes; none for a baseline.
    """
    info, metrics, config = folder.network(), folder.metrics()[-1], folder.config()
    train, val = (len(catalog.split(name)) for name in ("train", "val"))
    lines = [
        f"# {info.model}, {info.num_classes} classes",
        "",
        "`model.safetensors` is the plain network: text, encoder and projection took part in training only.",
        "",
        f"- Data: {train} training and {val} validation images from {config.get('images') or config.get('train')}",
        f"- Starting weights: {config.get('weights', 'none, trained from scratch')}",
        *(line for embeddings, num_described in texts for line in _text_lines(embeddings, num_described)),
        f"- Alignment: {config['align']}" if texts else "- Text: none, this is a baseline",
        f"- Validation top-1 {_when(metrics, config)}: {metrics['val_top1']:.2%} (one run, seed {config['seed']})",
        "",
        "The licences of the data, of the starting weights and of the describer may limit what the network may be used",
        "for; where a licence is not named here it is not known to sightwords.",
    ]
    write_text(folder.folder / "card.md", "\n".join(lines) + "\n")


def _text_lines(embeddings: EmbeddingSet, num_described: int) -> list[str]:
    meta = embeddings.meta
    licence = f", licence {meta['licence']}" if meta.get("licence") else ""
    described = ", ".join(meta.get("describers", [])) or "unknown"
    return [
        f"- Text: {num_described} images described by {described}, prompts {', '.join(meta.get('prompts', []))}",
        f"- Encoder: {meta['encoder']} ({meta.get('model', 'unknown')}{licence})",
    ]


def _when(metrics: dict[str, float], config: dict[str, Any]) -> str:
    if not config.get("early_stopping"):
        return "after the last epoch"
    by = "images held out of the training" if config.get("holdout") else "the validation images themselves: too high"
    return f"after epoch {metrics['chosen_epoch']:.0f}, chosen by {by}"
