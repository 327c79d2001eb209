"""What describers are asked: named, versioned prompts, and prompts from a user's file."""

from __future__ import annotations

import re
from pathlib import Path

from sightwords.artefacts.description_set import Prompt
from sightwords.errors import ConfigError, UnknownNameError

_WORD_LIMIT = "{word_limit}"

# Raise a prompt's version whenever its template changes, so that old and new answers are never taken for one another.
PROMPTS = {
    prompt.name: prompt
    for prompt in (
        Prompt("plain", 1, "Describe this image in detail."),
        Prompt("short", 1, f"Describe this image in one sentence of at most {_WORD_LIMIT} words."),
        Prompt(
            "class",
            1,
            "This image belongs to the class: {class_name}. Describe what can be seen, above all the features by "
            "which one can tell that it is {class_name}.",
        ),
        Prompt(
            "attributes",
            1,
            "Describe the main object of this image: its shape, its colours, its texture, its parts, and the setting "
            "that it is in.",
        ),
    )
}


def named_prompt(name: str, word_limit: int = 20) -> Prompt:
    """Return a built-in prompt.

    Args:
        name: `plain`, `short`, `class` or `attributes`.
        word_limit: number of words that `short` allows.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in PROMPTS:
        raise UnknownNameError("prompt", name, PROMPTS, "A prompt of your own is read by --prompt-file FILE.")
    prompt = PROMPTS[name]
    return Prompt(name, prompt.version, prompt.template.replace(_WORD_LIMIT, str(word_limit)))


def file_prompt(path: Path) -> Prompt:
    """Return the prompt that a UTF-8 text file holds; its name is the file's stem.

    Raises:
        ConfigError: the file cannot be read, is empty, or has a placeholder other than `{class_name}`.
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
    return Prompt(path.stem, 1, template)
