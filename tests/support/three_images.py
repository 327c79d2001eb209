"""A small description set: three images, two prompts, two describers."""

from __future__ import annotations

from pathlib import Path

from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet


def write_three_images(path: Path) -> Path:
    """Write the set; its last image has only answers that cannot be used."""
    a, b, c = ("a" * 64, "b" * 64, "c" * 64)
    long = "A small red bird with a long tail. " * 4 + "It is near the water, under a tree. " * 3
    with DescriptionSet(path, create=True) as store:
        plain, short = (store.add_prompt(Prompt(name, 1, name)) for name in ("plain", "short"))
        one, two = (store.add_describer(DescriberInfo(name, name)) for name in ("hf:one", "hf:two"))
        store.put(
            [
                Description(b, plain, one, 0, "a red bird"),
                Description(b, plain, one, 1, "a blue bird"),
                Description(a, plain, one, 0, long),
                Description(a, short, two, 0, "a red bird"),
                Description(c, plain, one, 0, "I cannot help", "rejected", "refusal"),
                Description(c, short, two, 0, "", "failed", "timeout"),
            ]
        )
    return path
