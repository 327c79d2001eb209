"""What describers are asked: named, versioned prompts, and prompts from a user's file."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.schema import Prompt
from sightwords.errors import ConfigError, UnknownNameError

_MATRIX = "confusion.csv"
_NUM_NAMED = 3  # classes that the prompt contrast names

# Raise a prompt's version whenever its template changes, so that answers to both are never taken for one another.
PROMPTS = {
    prompt.name: prompt
    for prompt in (
        Prompt("plain", 1, "Describe this image in detail."),
        Prompt("short", 1, "Describe this image in one sentence of at most 20 words."),
        Prompt("class", 1, "This image belongs to the class: {class_name}. Describe what can be seen, above all the "
               "features by which one can tell that it is {class_name}."),
        Prompt("attributes", 1, "Describe the main object of this image: its shape, its colors, its texture, its "
               "parts, and the setting that it is in."),
        Prompt("contrast", 1, "This image belongs to the class: {class_name}. It is easily mistaken for: "
               "{confused_with}. Describe what can be seen in this image that tells it apart from these."),
        Prompt("class_features", 1, "Describe in three sentences what a photograph of the class {class_name} shows: "
               "shape, colors, texture, parts and usual setting, above all what tells it apart from similar classes.",
               per_class=True),
    )
}  # fmt: skip
# what the describer class_name "is asked": its answer is the question
CLASS_NAME = Prompt("class_name", 1, "{class_name}", per_class=True)


def choose_prompt(config: DescribeConfig, class_ids: Sequence[str], class_names: Sequence[str]) -> Prompt:
    """Return the prompt that a configuration names, for images of these classes (ids and readable names).

    Raises:
        UnknownNameError: there is no prompt of that name.
        ConfigError: the prompt file or the run of `--confusions` is not usable, or the describer takes no prompt.
    """
    if config.describer == "class_name":
        if config.prompt_file or config.prompt != "plain":
            raise ConfigError("The describer class_name gives the class names themselves and takes no prompt.")
        return CLASS_NAME
    if config.prompt_file:
        return file_prompt(config.prompt_file, config.per_class)
    if config.prompt not in PROMPTS:
        raise UnknownNameError("prompt", config.prompt, PROMPTS, "A prompt of your own is read by --prompt-file FILE.")
    confusions = read_confusions(config.confusions, class_ids, class_names) if config.confusions else {}
    return replace(PROMPTS[config.prompt], confusions=confusions)


def file_prompt(path: Path, per_class: bool = False) -> Prompt:
    """Return the prompt that a UTF-8 text file holds; its name is the file's stem.

    Raises:
        ConfigError: the file cannot be read, is empty, has a placeholder other than `{class_name}`, or lacks that one
            although it is asked for each class.
    """
    try:
        template = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the prompt file {path}: {error}") from None
    if not template:
        raise ConfigError(f"The prompt file {path} is empty. Write into it what the describer is to be asked.")
    unknown = sorted(set(re.findall(r"\{[A-Za-z_]\w*\}", template)) - {"{class_name}"})
    if unknown:
        raise ConfigError(
            f"The prompt file {path} has the placeholder {unknown[0]}; only {{class_name}} is known. "
            "Write it without braces if it is meant as text."
        )
    if per_class and "{class_name}" not in template:
        raise ConfigError(f"The prompt file {path} does not name the class. With --per-class it needs {{class_name}}.")
    return Prompt(path.stem, 1, template, per_class)


def read_confusions(run: Path, class_ids: Sequence[str], class_names: Sequence[str]) -> dict[str, list[str]]:
    """Return class name -> names of the classes that it is most often confused with, either way round.

    Args:
        run: an evaluated run, or the folder that `sightwords evaluate --out` wrote.
        class_ids: ids of the images' classes.
        class_names: their readable names, same order.

    Raises:
        ConfigError: the run is not evaluated, or its classes are others.
    """
    file = next((file for file in (run / "evaluation" / _MATRIX, run / _MATRIX) if file.is_file()), None)
    if file is None:
        raise ConfigError(f"{run} has no confusion matrix. Make it with: sightwords evaluate {run} IMAGES")
    with file.open(newline="", encoding="utf-8") as stream:
        (_, *ids), *rows = csv.reader(stream)
    if ids != list(class_ids):
        differing = sorted(set(ids) ^ set(class_ids)) or ["their order"]
        raise ConfigError(
            f"The run {run} has {len(ids)} classes and the images have {len(class_ids)}; differing: "
            f"{', '.join(differing[:5])}. Name a run that was trained for these images."
        )
    try:
        counts = np.array([row[1:] for row in rows], int)
    except ValueError as error:
        raise ConfigError(f"{file} is not a confusion matrix ({error}). Evaluate the run again.") from None
    mistakes = counts + counts.T
    np.fill_diagonal(mistakes, 0)
    ranked = np.argsort(-mistakes, axis=1, kind="stable")[:, :_NUM_NAMED]
    named = {class_names[i]: [class_names[j] for j in row if mistakes[i, j]] for i, row in enumerate(ranked)}
    return {name: others for name, others in named.items() if others}
