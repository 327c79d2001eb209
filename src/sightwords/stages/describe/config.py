"""The options of `sightwords describe`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sightwords.data.config import ImagesConfig
from sightwords.errors import ConfigError

# The smallest model of the SmolVLM2 family: 256 million weights, about 1 GB to fetch, Apache-2.0, English.
DEFAULT_DESCRIBER = "hf:HuggingFaceTB/SmolVLM2-256M-Video-Instruct"


@Parameter(name="*")
@dataclass
class DescribeConfig(ImagesConfig):
    """Write a description of every image into a description set."""

    _: KW_ONLY
    out: Path
    """Description set to write, one SQLite file; answers that it already holds are not asked for again."""
    describer: str = DEFAULT_DESCRIBER
    """Who describes: hf:NAME_OR_FOLDER, server:MODEL@URL (any OpenAI-compatible server), or demo."""
    split: Literal["train", "val", "all"] = "train"
    """Images to describe; training needs descriptions of the training images only."""
    prompt: str = "plain"
    """What to ask: plain, short, class (tells the describer the class) or attributes."""
    prompt_file: Path | None = None
    """Text file with a prompt of your own, instead of --prompt; {class_name} stands for the image's class."""
    word_limit: int = 20
    """Words that the prompt short allows."""
    samples: int = 1
    """Descriptions of each image; the first is the most probable one (greedy), the others are sampled."""
    temperature: float = 0.7
    """Temperature of the sampled descriptions; higher is more varied."""
    seed: int = 0
    """Seed of the sampled descriptions."""
    max_new_tokens: int = 128
    """Longest answer, in tokens."""
    max_side: int = 512
    """Longest side that the describer sees, in pixels; larger images are scaled down."""
    batch_size: int = 8
    """Images at once, for hf describers."""
    concurrency: int = 16
    """Requests at once, for server describers."""
    timeout_s: float = 120.0
    """Longest wait for a server's answer, in seconds; after some retries the image counts as failed."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of hf describers; auto is bf16 on GPUs that have it, and fp32 on the CPU."""
    device: str = "auto"
    """Device of hf describers: auto, cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."""
    retry_failed: Annotated[bool, Parameter(negative="")] = False
    """Ask again also where an answer was rejected; where there was no answer it is always asked again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag, value in (
            ("--samples", self.samples),
            ("--max-new-tokens", self.max_new_tokens),
            ("--batch-size", self.batch_size),
            ("--concurrency", self.concurrency),
            ("--word-limit", self.word_limit),
        ):
            if value < 1:
                raise ConfigError(f"{flag} is {value}; it must be at least 1.")
        if self.max_side < 16:
            raise ConfigError(f"--max-side is {self.max_side}; it must be at least 16 pixels.")
        if self.temperature <= 0:
            raise ConfigError(
                f"--temperature is {self.temperature}; it must be above 0. The first description of an image is "
                "greedy anyway: --samples 1 gives that alone."
            )
        if self.timeout_s <= 0:
            raise ConfigError(f"--timeout-s is {self.timeout_s}; it must be above 0 seconds.")
        if self.prompt_file is not None and self.prompt != "plain":
            raise ConfigError("Both --prompt and --prompt-file are given; use one of them.")
        if self.split not in ("train", "val", "all"):
            raise ConfigError(f"--split is {self.split!r}; it must be train, val or all.")
        if self.precision not in ("auto", "fp32", "bf16", "fp16"):
            raise ConfigError(f"--precision is {self.precision!r}; it must be auto, fp32, bf16 or fp16.")
