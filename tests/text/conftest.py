"""A small description set, and the options that embed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightwords.text.config import EmbedConfig
from support.three_images import write_three_images


@pytest.fixture
def descriptions(tmp_path) -> Path:
    """Three images, two prompts, two describers; the last image has only answers that cannot be used."""
    return write_three_images(tmp_path / "D.db")


@pytest.fixture
def config(descriptions, tmp_path, tiny_st) -> EmbedConfig:
    return EmbedConfig(descriptions, out=tmp_path / "E", encoder=f"st:{tiny_st}", device="cpu", precision="fp32")
