"""The options of embedding."""

from __future__ import annotations

from pathlib import Path

import pytest
from cyclopts import App

from sightwords.errors import ConfigError
from sightwords.text.config import EmbedConfig


def _parse(text: str) -> EmbedConfig:
    app = App(result_action="return_value")

    @app.command
    def embed(config: EmbedConfig) -> EmbedConfig:
        return config

    return app(["embed", *text.split()], exit_on_error=False, print_error=False)


def test_flags():
    config = _parse(
        "D.db --encoder st:x/y --out E --prompt plain --prompt class --precision bf16 --batch-size 8 "
        "--where clip_score>0.2"
    )
    assert config == EmbedConfig(
        Path("D.db"),
        out=Path("E"),
        encoder="st:x/y",
        prompt=["plain", "class"],
        precision="bf16",
        batch_size=8,
        where="clip_score>0.2",
    )
    assert _parse("D.db --out E") == EmbedConfig(Path("D.db"), out=Path("E"))


def test_a_lone_prompt_is_one_name():
    config = EmbedConfig("D.db", out="E", prompt="plain")  # type: ignore[arg-type]
    assert (config.descriptions, config.out, config.prompt) == (Path("D.db"), Path("E"), ["plain"])


def test_an_empty_batch_is_refused():
    with pytest.raises(ConfigError, match="--batch-size is 0"):
        EmbedConfig(Path("D.db"), out=Path("E"), batch_size=0)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match="--precision is 'int8'; it must be one of auto, fp32, bf16, fp16"):
        EmbedConfig(Path("D.db"), out=Path("E"), precision="int8")  # type: ignore[arg-type]
