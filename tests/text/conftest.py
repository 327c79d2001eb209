"""A small description set, and the options that embed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.text.config import EmbedConfig

A, B, C = "a" * 64, "b" * 64, "c" * 64
LONG = "A small red bird with a long tail. " * 4 + "It is near the water, under a tree. " * 3


@pytest.fixture
def descriptions(tmp_path) -> Path:
    """Three images, two prompts, two describers; the last image has only answers that cannot be used."""
    with DescriptionSet(tmp_path / "D.db", create=True) as store:
        plain, short = (store.add_prompt(Prompt(name, 1, name)) for name in ("plain", "short"))
        one, two = (store.add_describer(DescriberInfo(name, name)) for name in ("hf:one", "hf:two"))
        store.put(
            [
                Description(B, plain, one, 0, "a red bird"),
                Description(B, plain, one, 1, "a blue bird"),
                Description(A, plain, one, 0, LONG),
                Description(A, short, two, 0, "a red bird"),
                Description(C, plain, one, 0, "I cannot help", "rejected", "refusal"),
                Description(C, short, two, 0, "", "failed", "timeout"),
            ]
        )
    return tmp_path / "D.db"


@pytest.fixture
def config(descriptions, tmp_path, tiny_st) -> EmbedConfig:
    return EmbedConfig(descriptions, out=tmp_path / "E", encoder=f"st:{tiny_st}", device="cpu", precision="fp32")
