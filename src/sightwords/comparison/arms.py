"""The arms of a comparison, and what each changes in a training."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

import sightwords
from sightwords.errors import ConfigError

CONTROLS = {
    "class_name": "class names alone",
    "shuffled": "descriptions shuffled among the images",
    "shuffled_within_class": "descriptions shuffled within each class",
    "random_vectors": "random vectors instead of text",
}
ARMS = {"baseline": "no text", "aligned": "the descriptions", **CONTROLS}

_ARM_OPTIONS = {"align", "embeddings", "label_noise_correction", "labels"}  # what a file of options may set


def is_file(name: str) -> bool:
    """Whether an arm or a network is named by a file of options."""
    return name.endswith((".yaml", ".yml"))


def check_arm(arm: str) -> None:
    """Raise ConfigError, naming what is known, unless the arm is known."""
    if arm in ARMS or arm.startswith("aligned:"):
        return
    if not is_file(arm):
        known = "\n".join(f"  {name}: {meaning}" for name, meaning in ARMS.items())
        raise ConfigError(
            f"There is no arm {arm!r}. Known are\n{known}\nand aligned:LOSS, and a YAML file of options, `align: ...`."
        )
    if not Path(arm).is_file():
        raise ConfigError(f"The arm's file {arm} does not exist.")


def arm_name(arm: str) -> str:
    """Return the name of an arm, fit for a folder: `aligned-cosine`, a file's stem."""
    return Path(arm).stem if is_file(arm) else arm.replace(":", "-")


def options_of(file: str) -> dict[str, Any]:
    """Return the options of a YAML file.

    Raises:
        ConfigError: it is not a mapping.
    """
    try:
        values = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be read as YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{file} holds no options. It must map names to values, such as `lr: 0.001`.")
    return {str(name).replace("-", "_"): value for name, value in values.items()}


def with_options(config: sightwords.TrainConfig, options: dict[str, Any], origin: str) -> sightwords.TrainConfig:
    """Return a training's options with some replaced; `align` and `augment` may name a part of theirs.

    Raises:
        ConfigError: an option is unknown or out of range.
    """
    values = dict(options)
    try:
        for part in ("align", "augment"):
            own = {str(name).replace("-", "_"): value for name, value in (values.pop(part, None) or {}).items()}
            values[part] = replace(getattr(config, part), **own)
        return replace(config, **values)
    except TypeError as error:
        known = ", ".join(sorted(asdict(config)))
        raise ConfigError(f"{origin}: {error}. Options are {known}.") from None


def with_arm(config: sightwords.TrainConfig, arm: str, text: list[Path]) -> sightwords.TrainConfig:
    """Return a training's options for an arm that is taught by the embedding sets of `text`, the baseline by none."""
    config = replace(config, embeddings=text)
    if arm.startswith("aligned:"):
        return with_options(config, {"align": {"loss": arm.partition(":")[2]}}, f"--arms {arm}")
    if is_file(arm):
        options = options_of(arm)
        if foreign := sorted(options.keys() - _ARM_OPTIONS):
            raise ConfigError(
                f"{arm} sets {', '.join(foreign)}. Arms may differ only in {', '.join(sorted(_ARM_OPTIONS))}, so that "
                "the comparison shows what the text does."
            )
        return with_options(config, options, arm)
    return config
