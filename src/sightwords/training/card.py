"""The card of a run: what the network was made from, for people who find the folder later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sightwords.files import write_text
from sightwords.images.dataset import Dataset
from sightwords.licenses import read_licenses
from sightwords.models import Backbone, pretrained_source
from sightwords.models.run_facts import RunFacts, TextFacts, license_lines, shown_name
from sightwords.models.run_folder import RunFolder
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.training.config import TrainConfig


def facts_of(
    config: TrainConfig, dataset: Dataset, texts: Sequence[tuple[EmbeddingSet, int]], backbone: Backbone
) -> RunFacts:
    """Return what the run is made from.

    Args:
        config: the options.
        dataset: the images.
        texts: embedding sets, each with the number of training images that it describes; none for a baseline.
        backbone: the network.
    """
    weights, license = shown_name(config.weights or ""), None
    if weights == "pretrained":
        weights, license = pretrained_source(backbone)
    num_train, num_val = (len(dataset.split(name)) for name in ("train", "val"))
    images = shown_name(str(config.images or config.train))
    found = [TextFacts.of(embeddings.meta, num_described) for embeddings, num_described in texts]
    return RunFacts(images, num_train, num_val, weights, license, found)


def write_card(folder: RunFolder, facts: RunFacts, config: TrainConfig) -> None:
    """Write `card.md`: network, data, text with its describers and encoder, figures, and licenses."""
    info, metrics, values = folder.network(), folder.metrics()[-1], folder.config()
    table = read_licenses(config.licenses)
    lines = [
        f"# {info.model}, {info.num_classes} classes",
        "",
        "`model.safetensors` is the plain network: text, encoder and projection took part in training only.",
        "",
        *facts.lines(),
        f"- Alignment: {values['align']}" if facts.texts else "- Text: none, this is a baseline",
        f"- Validation top-1 {_when(metrics, values)}: {metrics['val_top1']:.2%} (one run, seed {values['seed']})",
        "",
        "The licenses of these parts may limit what the network may be used for:",
        "",
        *license_lines([table.find(part) for part in facts.parts(info.model)]),
    ]
    write_text(folder.folder / "card.md", "\n".join(lines) + "\n")


def _when(metrics: dict[str, float], config: dict[str, Any]) -> str:
    if not config.get("early_stopping"):
        return "after the last epoch"
    by = "images held out of the training" if config.get("holdout") else "the validation images themselves: too high"
    return f"after epoch {metrics['chosen_epoch']:.0f}, chosen by {by}"
