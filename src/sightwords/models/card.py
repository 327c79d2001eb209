"""What a run was made from, and its model card in the form of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightwords.licenses import NOTHING_TO_LICENSE, Part, describer_part, encoder_part, read_licenses

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

    from sightwords.models.run_folder import RunFolder

_TASK = "image-classification"
_TEMPLATE = Path(__file__).with_name("card.md.jinja")


@dataclass(frozen=True)
class TextFacts:
    """The text that a run was trained with: one embedding set.

    Attributes:
        encoder: the encoder's ID.
        model: the encoder's own name.
        revision: commit or hash of its weights.
        license: of its weights, where it is known.
        describers: who described: identifier, model, revision.
        prompts: what was asked: name, version, template.
        num_described: training images with a description.
    """

    encoder: str
    model: str
    revision: str
    license: str | None
    describers: list[dict[str, Any]]
    prompts: list[dict[str, Any]]
    num_described: int

    @classmethod
    def of(cls, meta: Mapping[str, Any], num_described: int) -> TextFacts:
        """Return what an embedding set's meta says; sets from elsewhere may know only names."""
        return cls(
            encoder=meta["encoder"],
            model=str(meta.get("model", "unknown")),
            revision=str(meta.get("revision", "")),
            license=meta.get("license"),
            describers=meta.get("describer_models") or [{"identifier": name} for name in meta.get("describers", [])],
            prompts=meta.get("prompt_texts") or [{"name": name} for name in meta.get("prompts", [])],
            num_described=num_described,
        )


@dataclass(frozen=True)
class RunFacts:
    """What a run was made from.

    Attributes:
        images: name of the folder, table or shards that they are from.
        num_train: training images.
        num_val: validation images.
        weights: name of the weights that it started from, empty for none.
        weights_license: their license, where they carry one.
        texts: the embedding sets; none for a baseline.
    """

    images: str
    num_train: int
    num_val: int
    weights: str = ""
    weights_license: str | None = None
    texts: list[TextFacts] = field(default_factory=list)

    def parts(self, model: str) -> list[Part]:
        """Return everything that may have a license.

        Args:
            model: `timm:NAME` or `torchvision:NAME`, whose code has a license too.
        """
        library = model.partition(":")[0]
        code = {"timm": "apache-2.0", "torchvision": "bsd-3-clause"}.get(library)
        weights = Part("starting weights", "none, trained from scratch", NOTHING_TO_LICENSE)
        if self.weights:
            weights = Part("starting weights", self.weights, self.weights_license)
        found = [Part("images", self.images), Part("network code", library, code), weights]
        for text in self.texts:
            found += [describer_part(one["identifier"]) for one in text.describers]
            found.append(encoder_part(text.encoder, text.license))
        return list(dict.fromkeys(found))


def make_card(
    folder: RunFolder,
    licenses: Path | None = None,
    *,
    title: str = "",
    library: str = "",
    license: str | None = None,
    datasets: Sequence[str] = (),
    tags: Sequence[str] = (),
    snippet: str = "",
    comparison: Mapping[str, Any] | None = None,
    verified: str = "",
) -> ModelCard:
    """Return the card of a run, or of what was exported of it.

    Args:
        folder: the run.
        licenses: a further table, see `read_licenses`.
        title: heading; by default the network's name and its number of classes.
        library: library that reads it, as the hub names it; by default that of the network.
        license: that the user gives the network.
        datasets: names of the images on the hub.
        tags: further tags.
        snippet: Python that loads it.
        comparison: `trainings` (how many, of how many epochs) and `effects`, a mapping for each arm.
        verified: what was verified of an exported file.
    """
    from huggingface_hub import ModelCard, ModelCardData

    info, facts, last = folder.network(), folder.facts(), (folder.metrics() or [{}])[-1]
    top1 = last.get("val_top1")
    results = None if top1 is None or info.multi_label else _results(top1, [*datasets, facts.images][0])
    supervision = ["language-supervision"] if facts.texts else []
    title = title or f"{info.model}, {info.num_classes} classes"
    data = ModelCardData(
        license=license,
        library_name=library or info.model.partition(":")[0],
        pipeline_tag=_TASK,
        tags=list(dict.fromkeys([_TASK, "sightwords", *tags, *supervision])),
        datasets=list(datasets) or None,
        model_name=title if results else None,
        eval_results=results,
    )
    card: ModelCard = ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        title=title,
        info=info,
        facts=facts,
        config=folder.config(),
        snippet=snippet,
        resized=max(info.image_size, round(info.image_size / info.crop_pct)),
        top1=top1,
        epoch=last.get("chosen_epoch"),
        comparison=comparison,
        card_data_license=license,
        findings=list(map(read_licenses(licenses).find, facts.parts(info.model))),
        verified=verified,
    )
    return card


def _results(top1: float, dataset: str) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    value = round(float(top1), 5)
    return [EvalResult(_TASK, dataset, dataset, "accuracy", value, dataset_split="val", metric_name="top-1")]


def shown_name(place: str) -> str:
    """Return what may stand on a card for all to read: the last part of a path, and no folders of this machine."""
    return place.rstrip("/").rpartition("/")[2]
