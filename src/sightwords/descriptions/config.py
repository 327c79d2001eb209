"""The options of `sightwords describe`, `import` and `merge`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from sightwords.errors import ConfigError
from sightwords.images.config import FLAG, ImageOptions, ImagesConfig, check_choices, check_range, set_paths
from sightwords.licenses import Use, check_use

# The smallest model of the SmolVLM2 family: 256 million weights, about 1 GB to fetch, Apache-2.0, English.
DEFAULT_DESCRIBER = "hf:HuggingFaceTB/SmolVLM2-256M-Video-Instruct"

# of the answers, ISO 639-1
LANGUAGES = (
    "af ar az be bg bn bs ca cs cy da de el en es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk km kn ko lo "
    "lt lv mk ml mn mr ms my ne nl nn no pa pl pt ro ru si sk sl sq sr sv sw ta te th tl tr uk ur uz vi zh"
)

_ASK, _CHECK, _PAY, _ENGINE = (
    Parameter(group=Group(name, sort_key=number))
    for number, name in enumerate(("What to ask", "Which answers are kept", "Knowing before paying", "How to run"), 1)
)


@dataclass
class FilterRules:
    """What a description must be like to be kept.

    Raises:
        ConfigError: the language is not known, or `max_words` is below `min_words`.
    """

    _: KW_ONLY
    min_words: Annotated[int, _CHECK] = 2
    """Fewest words of a description; where a script puts no spaces between words, two characters count as one."""
    max_words: Annotated[int, _CHECK] = 400
    """Most words of a description."""
    on_cut: Annotated[Literal["trim", "keep", "reject"], _CHECK] = "trim"
    """Answers cut off by the token limit: trim drops the unfinished sentence, keep takes all, reject asks again."""
    language: Annotated[str, _CHECK] = "en"
    """Language of the answers, an ISO 639-1 code (en, de, zh ...); any takes all."""

    def __post_init__(self) -> None:
        check_range(self, "min_words", least=1)
        if self.max_words < self.min_words:
            raise ConfigError(f"--max-words is {self.max_words}, below --min-words, which is {self.min_words}.")
        if self.language not in ("any", *LANGUAGES.split()):
            raise ConfigError(f"--language is {self.language!r}; it must be any, or one of {LANGUAGES}.")


@Parameter(name="*")
@dataclass
class DescribeConfig(FilterRules, ImagesConfig):
    """Write a description of every image into a description set."""

    _: KW_ONLY
    out: Path
    """Description set to write, one SQLite file; answers that it already holds are not asked for again."""
    describer: str = DEFAULT_DESCRIBER
    """Who describes: hf:NAME_OR_FOLDER, server:MODEL@URL[,URL...] (OpenAI-compatible servers), or class_name."""
    split: Literal["train", "val", "all"] = "train"
    """Images to describe; training needs descriptions of the training images only."""
    prompt: Annotated[str, _ASK] = "plain"
    """What to ask: plain, short, attributes, class, contrast, or class_features (once a class, without an image)."""
    prompt_file: Annotated[Path | None, _ASK] = None
    """Text file with a prompt of your own, instead of --prompt; {class_name} stands for the image's class."""
    per_class: Annotated[bool, FLAG, _ASK] = False
    """Ask the prompt of --prompt-file once for each class, without an image; a text-only model will do."""
    confusions: Annotated[Path | None, _ASK] = None
    """Evaluated run whose confusions the prompt contrast names."""
    samples: Annotated[int, _ASK] = 1
    """Descriptions of each image; the first is the most probable one (greedy), the others are sampled."""
    temperature: Annotated[float, _ASK] = 0.7
    """Temperature of the sampled descriptions; higher is more varied."""
    seed: Annotated[int, _ASK] = 0
    """Seed of the sampled descriptions."""
    max_new_tokens: Annotated[int, _ASK] = 256
    """Longest answer, in tokens."""
    max_side: Annotated[int, _ASK] = 512
    """Longest side that the describer sees, in pixels; larger images are scaled down."""
    tries: Annotated[int, _CHECK] = 3
    """Answers to get for a description until one passes the filter."""
    max_same: Annotated[int, _CHECK] = 10
    """Images that may share one text; more of several classes reject it. Images of one class may always share one."""
    clip_score: Annotated[str | None, _CHECK] = None
    """CLIP model that scores each description against its image: openclip:MODEL/TAG_OR_CHECKPOINT."""
    retry_failed: Annotated[bool, FLAG, _CHECK] = False
    """Ask only where an answer failed or was rejected, with new tries."""
    pilot: Annotated[int | None, _PAY] = None
    """Describe a stratified sample of this many images, and forecast time, tokens and cost of all."""
    prices: Annotated[Path | None, _PAY] = None
    """YAML file with prices: MODEL: {input: PER_MILLION_TOKENS, output: PER_MILLION_TOKENS, per_hour: PRICE}."""
    use: Annotated[Use | None, _PAY] = None
    """What networks taught by the texts are for: `commercial` warns where the describer's license is against it."""
    licenses: Annotated[Path | None, _PAY] = None
    """Your own table of licenses, YAML, in addition to the package's."""
    max_requests: Annotated[int | None, _PAY] = None
    """Stop at this many requests by this describer and prompt, those of earlier runs included."""
    max_tokens: Annotated[int | None, _PAY] = None
    """Stop at this many tokens, sent and received, those of earlier runs included."""
    max_cost: Annotated[float | None, _PAY] = None
    """Stop at this cost in the currency of --prices, that of earlier runs included."""
    engine: Annotated[Literal["local", "ray"], _ENGINE] = "local"
    """Where describers run: in this process, or on a Ray cluster."""
    ray_address: Annotated[str, _ENGINE] = "auto"
    """Address of the Ray cluster; auto takes the running one, and starts one on this machine where there is none."""
    ray_workers: Annotated[int | None, _ENGINE] = None
    """Describers on the Ray cluster. [default: one for each GPU, else one]"""
    batch_size: Annotated[int, _ENGINE] = 8
    """Images in a batch of hf describers; halved where memory runs out."""
    concurrency: Annotated[int, _ENGINE] = 256
    """Most requests at once to each server; how many are really open adapts to what it answers."""
    timeout_s: Annotated[float, _ENGINE] = 120.0
    """Longest wait for a server's answer to one request, in seconds."""
    patience_s: Annotated[float, _ENGINE] = 300.0
    """Seconds without an answer from any server after which the run ends."""
    grace_s: Annotated[float, _ENGINE] = 30.0
    """Time that answers in flight get to arrive after Ctrl-C, in seconds; a second Ctrl-C stops at once."""
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], _ENGINE] = "auto"
    """Number format of hf describers; auto is bf16 on GPUs that have it, and fp32 on the CPU."""
    device: Annotated[str, _ENGINE] = "auto"
    """Device of hf describers: auto, cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."""

    def __post_init__(self) -> None:
        ImagesConfig.__post_init__(self)
        FilterRules.__post_init__(self)
        self.out = Path(self.out)
        set_paths(self, "prompt_file confusions prices licenses")
        check_use(self.use)
        check_choices(self)
        check_range(self, "samples max_new_tokens tries max_same pilot max_requests max_tokens", least=1)
        check_range(self, "ray_workers batch_size concurrency", least=1)
        check_range(self, "max_side", least=16)
        check_range(self, "temperature timeout_s patience_s max_cost", above=0)
        check_range(self, "grace_s", least=0)
        self._check_combinations()

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
