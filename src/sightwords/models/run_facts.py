"""What a run was made from, as the run's folder keeps it: for cards, and for the licenses of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sightwords.licenses import NOTHING_TO_LICENSE, Finding, Part, describer_part, encoder_part

MAX_SHOWN = 300  # letters of a prompt on a card
_FROM_SCRATCH = "none, trained from scratch"


@dataclass(frozen=True)
class TextFacts:
    """What a run was taught with: one embedding set.

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
        """Return what an embedding set's meta says; sets of earlier days know only names of prompts and describers."""
        names = [{"identifier": name} for name in meta.get("describers", [])]
        return cls(
            meta["encoder"],
            str(meta.get("model", "unknown")),
            str(meta.get("revision", "")),
            meta.get("license"),
            meta.get("describer_models") or names,
            meta.get("prompt_texts") or [{"name": name} for name in meta.get("prompts", [])],
            num_described,
        )

    def lines(self) -> list[str]:
        """Return who described, what was asked, and who encoded."""
        who = ", ".join(_with_revision(one["identifier"], one.get("revision")) for one in self.describers) or "unknown"
        license = f", license {self.license}" if self.license else ""
        asked = [f"- Prompt `{one['name']}`{_template(one)}" for one in self.prompts]
        encoder = f"- Encoder: {self.encoder} ({_with_revision(self.model, self.revision)}{license})"
        return [f"- Text: {self.num_described} images described by {who}", *asked, encoder]


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

    def plain(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> RunFacts:
        """Return the facts that `plain` gave."""
        return cls(**{**values, "texts": [TextFacts(**text) for text in values["texts"]]})

    def parts(self, model: str) -> list[Part]:
        """Return everything that may have a license.

        Args:
            model: `timm:NAME` or `torchvision:NAME`, whose code has a license too.
        """
        library = model.partition(":")[0]
        code = {"timm": "apache-2.0", "torchvision": "bsd-3-clause"}.get(library)
        found = [Part("images", self.images), Part("network code", library, code), self._weights_part()]
        for text in self.texts:
            found += [describer_part(one["identifier"]) for one in text.describers]
            found.append(encoder_part(text.encoder, text.license))
        return list(dict.fromkeys(found))

    def _weights_part(self) -> Part:
        if not self.weights:
            return Part("starting weights", _FROM_SCRATCH, NOTHING_TO_LICENSE)
        return Part("starting weights", self.weights, self.weights_license)

    def lines(self) -> list[str]:
        """Return the facts as lines of a list in Markdown."""
        return [
            f"- Data: {self.num_train} training and {self.num_val} validation images from {self.images}",
            f"- Starting weights: {self.weights or _FROM_SCRATCH}",
            *(line for text in self.texts for line in text.lines()),
        ]


def license_lines(findings: list[Finding]) -> list[str]:
    """Return what is known of the parts' licenses as a table in Markdown."""
    rows = [f"| {f.part.role} | {f.part.name} | {f.shown} | {f.commercial} | {f.source} |" for f in findings]
    return ["| part | name | license | commercial use | known from |", "|---|---|---|---|---|", *rows]


def shown_name(place: str) -> str:
    """Return what may stand on a card for all to read: the last part of a path, and no folders of this machine."""
    return place.rstrip("/").rpartition("/")[2]


def _with_revision(name: str, revision: str | None) -> str:
    return f"{name}, revision {revision[:12]}" if revision else name


def _template(prompt: Mapping[str, Any]) -> str:
    if not prompt.get("template"):  # of texts from elsewhere it is not known
        return ""
    text = " ".join(str(prompt["template"]).split())
    return f": {text[:MAX_SHOWN]}{'...' if len(text) > MAX_SHOWN else ''}"
