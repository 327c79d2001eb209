"""The options of `sightwords describe`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from sightwords.descriptions.filter import FilterRules
from sightwords.errors import ConfigError
from sightwords.images.config import ImageOptions, ImagesConfig
from sightwords.licenses import Use, check_use

# The smallest model of the SmolVLM2 family: 256 million weights, about 1 GB to fetch, Apache-2.0, English.
DEFAULT_DESCRIBER = "hf:HuggingFaceTB/SmolVLM2-256M-Video-Instruct"

_ASK = Group("What to ask", sort_key=1)
_CHECK = Group("Which answers are kept", sort_key=2)
_PAY = Group("Knowing before paying", sort_key=3)
_ENGINE = Group("How to run", sort_key=4)

_AT_LEAST = {
    "samples": 1, "word_limit": 1, "max_new_tokens": 1, "max_side": 16, "tries": 1, "min_words": 1, "max_same": 1,
    "pilot": 1, "max_requests": 1, "max_tokens": 1, "ray_workers": 1, "batch_size": 1, "concurrency": 1, "grace_s": 0,
}  # fmt: skip
_CHOICES = {
    "split": ("train", "val", "all"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "on_cut": ("trim", "keep", "reject"),
    "engine": ("local", "ray"),
}


@Parameter(name="*")
@dataclass
class DescribeConfig(ImagesConfig):
    """Write a description of every image into a description set."""

    _: KW_ONLY
    out: Path
    """Description set to write, one SQLite file; answers that it already holds are not asked for again."""
    describer: str = DEFAULT_DESCRIBER
    """Who describes: hf:NAME_OR_FOLDER, server:MODEL@URL[,URL...] (OpenAI-compatible servers), or class_name."""
    split: Literal["train", "val", "all"] = "train"
    """Images to describe; training needs descriptions of the training images only."""
    prompt: Annotated[str, Parameter(group=_ASK)] = "plain"
    """What to ask: plain, short, attributes, class, contrast, or class_features (once a class, without an image)."""
    prompt_file: Annotated[Path | None, Parameter(group=_ASK)] = None
    """Text file with a prompt of your own, instead of --prompt; {class_name} stands for the image's class."""
    per_class: Annotated[bool, Parameter(negative="", group=_ASK)] = False
    """Ask the prompt of --prompt-file once for each class, without an image; a text-only model will do."""
    confusions: Annotated[Path | None, Parameter(group=_ASK)] = None
    """Evaluated run whose confusions the prompt contrast names."""
    word_limit: Annotated[int, Parameter(group=_ASK)] = 20
    """Words that the prompt short allows."""
    samples: Annotated[int, Parameter(group=_ASK)] = 1
    """Descriptions of each image; the first is the most probable one (greedy), the others are sampled."""
    temperature: Annotated[float, Parameter(group=_ASK)] = 0.7
    """Temperature of the sampled descriptions; higher is more varied."""
    seed: Annotated[int, Parameter(group=_ASK)] = 0
    """Seed of the sampled descriptions."""
    max_new_tokens: Annotated[int, Parameter(group=_ASK)] = 256
    """Longest answer, in tokens."""
    max_side: Annotated[int, Parameter(group=_ASK)] = 512
    """Longest side that the describer sees, in pixels; larger images are scaled down."""
    tries: Annotated[int, Parameter(group=_CHECK)] = 3
    """Answers to get for a description until one passes the filter."""
    min_words: Annotated[int, Parameter(group=_CHECK)] = 2
    """Fewest words of a description."""
    max_words: Annotated[int, Parameter(group=_CHECK)] = 400
    """Most words of a description."""
    on_cut: Annotated[Literal["trim", "keep", "reject"], Parameter(group=_CHECK)] = "trim"
    """Answers cut off by the token limit: trim drops the unfinished sentence, keep takes all, reject asks again."""
    language: Annotated[str, Parameter(group=_CHECK)] = "en"
    """Language of the answers, an ISO 639-1 code (en, de, zh ...); any takes all."""
    max_same: Annotated[int, Parameter(group=_CHECK)] = 10
    """Images that may share one text; more of several classes reject it. Images of one class may always share one."""
    clip_score: Annotated[str | None, Parameter(group=_CHECK)] = None
    """CLIP model that scores each description against its image: openclip:MODEL/TAG_OR_CHECKPOINT."""
    retry_failed: Annotated[bool, Parameter(negative="", group=_CHECK)] = False
    """Ask only where an answer failed or was rejected, with new tries."""
    pilot: Annotated[int | None, Parameter(group=_PAY)] = None
    """Describe a stratified sample of this many images, and forecast time, tokens and cost of all."""
    prices: Annotated[Path | None, Parameter(group=_PAY)] = None
    """YAML file with prices: MODEL: {input: PER_MILLION_TOKENS, output: PER_MILLION_TOKENS, per_hour: PRICE}."""
    use: Annotated[Use | None, Parameter(group=_PAY)] = None
    """What networks taught by the texts are for: `commercial` warns where the describer's license is against it."""
    licenses: Annotated[Path | None, Parameter(group=_PAY)] = None
    """Table of licenses of your own, YAML, beside the one of the package."""
    max_requests: Annotated[int | None, Parameter(group=_PAY)] = None
    """Stop at this many requests by this describer and prompt, those of earlier runs included."""
    max_tokens: Annotated[int | None, Parameter(group=_PAY)] = None
    """Stop at this many tokens, sent and received, those of earlier runs included."""
    max_cost: Annotated[float | None, Parameter(group=_PAY)] = None
    """Stop at this cost in the currency of --prices, that of earlier runs included."""
    engine: Annotated[Literal["local", "ray"], Parameter(group=_ENGINE)] = "local"
    """Where describers run: in this process, or on a Ray cluster."""
    ray_address: Annotated[str, Parameter(group=_ENGINE)] = "auto"
    """Address of the Ray cluster; auto takes the running one, and starts one on this machine where there is none."""
    ray_workers: Annotated[int | None, Parameter(group=_ENGINE)] = None
    """Describers on the Ray cluster. [default: one for each GPU, else one]"""
    batch_size: Annotated[int, Parameter(group=_ENGINE)] = 8
    """Images at once, for hf describers; halved where memory runs out."""
    concurrency: Annotated[int, Parameter(group=_ENGINE)] = 256
    """Most requests at once to each server; how many are really open adapts to what it answers."""
    timeout_s: Annotated[float, Parameter(group=_ENGINE)] = 120.0
    """Longest wait for a server's answer to one request, in seconds."""
    patience_s: Annotated[float, Parameter(group=_ENGINE)] = 300.0
    """Time without any server that answers after which the run ends, in seconds."""
    grace_s: Annotated[float, Parameter(group=_ENGINE)] = 30.0
    """Time that answers in flight get to arrive after Ctrl-C, in seconds; a second Ctrl-C stops at once."""
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], Parameter(group=_ENGINE)] = "auto"
    """Number format of hf describers; auto is bf16 on GPUs that have it, and fp32 on the CPU."""
    device: Annotated[str, Parameter(group=_ENGINE)] = "auto"
    """Device of hf describers: auto, cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.out = Path(self.out)
        for name in ("prompt_file", "confusions", "prices", "licenses"):
            setattr(self, name, Path(getattr(self, name)) if getattr(self, name) else None)
        check_use(self.use)
        self._check_values()
        self._check_combinations()
        _ = self.filter_rules  # checks itself

    @property
    def filter_rules(self) -> FilterRules:
        """What a description must be like to be kept."""
        return FilterRules(self.min_words, self.max_words, self.on_cut, self.language)

    def _check_values(self) -> None:
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{_flag(name)} is {value}; it must be at least {least}.")
        for name in ("temperature", "timeout_s", "patience_s", "max_cost"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{_flag(name)} is {value}; it must be above 0.")
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(f"{_flag(name)} is {value!r}; it must be {', '.join(allowed[:-1])} or {allowed[-1]}.")

    def _check_combinations(self) -> None:
        if self.prompt_file is not None and self.prompt != "plain":
            raise ConfigError("Both --prompt and --prompt-file are given; use one of them.")
        if self.per_class and self.prompt_file is None:
            raise ConfigError("--per-class needs --prompt-file; the built-in prompt for it is --prompt class_features.")
        if (self.prompt == "contrast") != (self.confusions is not None):
            raise ConfigError("--prompt contrast and --confusions RUN go together: give both, or neither.")
        if self.max_cost is not None and self.prices is None:
            raise ConfigError("--max-cost needs --prices FILE, since servers do not report what they charge.")
        if self.samples > 1 and self.describer == "class_name":
            raise ConfigError("A class has one name; use --samples 1.")
        if self.pilot is not None and self.retry_failed:
            raise ConfigError("--pilot and --retry-failed are both given; a pilot asks for what is missing.")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


@dataclass
class _Source:
    # a base of its own: cyclopts takes a field as positional only where no keyword-only field stands before it
    source: Path
    """Table of descriptions (.csv, .tsv, .jsonl, .parquet), or the published list (.pt)."""


@Parameter(name="*")
@dataclass
class ImportConfig(ImageOptions, _Source):
    """Take over descriptions that exist already."""

    _: KW_ONLY
    images: str | None = None
    """Folder, CSV or Parquet table, or tar shards that hold the images of all splits."""
    out: Path
    """Description set to write; what is in it already stays, the same rows are replaced."""
    split: Literal["train", "val", "all"] = "all"
    """Images that the descriptions may belong to."""
    text_column: str | None = None
    """Column of SOURCE with the text, or a list of texts. [default: text, caption, description or captions]"""
    source_column: str | None = None
    """Column of SOURCE with the image's key, path, file name or bytes. [default: key, image, path or the like]"""
    prompt: str = "imported"
    """Name of the prompt that the texts are stored under."""
    describer: str | None = None
    """Name of who wrote the texts. [default: import:FILENAME]"""

    def __post_init__(self) -> None:
        self.source, self.out = Path(self.source), Path(self.out)
        if self.images is None and self.train is None and self.val is None:
            raise ConfigError("No images given. Name a folder, a table or tar shards with --images (or --train).")
        if self.split != "all" and self.images is None and getattr(self, self.split) is None:
            raise ConfigError(f"--split {self.split} needs a source of these images: --images or --{self.split}.")
        for flag, value in (("--prompt", self.prompt), ("--describer", self.describer)):
            if value is not None and not value.strip():
                raise ConfigError(f"{flag} is empty; give it a name.")
        super().__post_init__()

    @property
    def describer_name(self) -> str:
        """Who wrote the texts, as stored with each of them."""
        return self.describer or f"import:{self.source.name}"


@Parameter(name="*")
@dataclass
class MergeConfig:
    """Bring description sets together, by image key, prompt, describer and sample."""

    sources: list[Path]
    """Description sets; the first takes over what the others have, unless --out names a new one. A damaged set gives
    what can still be read of it."""
    _: KW_ONLY
    out: Path | None = None
    """New description set to write; the sources stay as they are."""

    def __post_init__(self) -> None:
        self.sources = [Path(source) for source in self.sources]
        self.out = Path(self.out) if self.out else None
        if len(self.sources) < (1 if self.out else 2):
            raise ConfigError("Name at least two description sets, or one and --out: sightwords merge A.db B.db")
        places = [path.resolve() for path in (*self.sources, *([self.out] if self.out else []))]
        if len(set(places)) < len(places):
            raise ConfigError("The same file is named twice. Each set is to be named once, and --out must be new.")
        if self.out and self.out.exists():
            raise ConfigError(
                f"--out {self.out} is there already. Name a new file, or put it first to add the others to it: "
                f"sightwords merge {self.out} {' '.join(map(str, self.sources))}"
            )
