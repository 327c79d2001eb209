from __future__ import annotations

from pathlib import Path

import pytest

from sightwords.descriptions.config import DEFAULT_DESCRIBER, DescribeConfig
from sightwords.errors import ConfigError


def test_defaults_are_the_documented_ones():
    config = DescribeConfig("photos", out=Path("d.db"))
    assert config.describer == DEFAULT_DESCRIBER == "hf:HuggingFaceTB/SmolVLM2-256M-Video-Instruct"
    assert (config.split, config.prompt, config.samples) == ("train", "plain", 1)


@pytest.mark.parametrize(
    ("option", "value", "flag"),
    [
        ("samples", 0, "--samples is 0"),
        ("max_new_tokens", 0, "--max-new-tokens is 0"),
        ("batch_size", -1, "--batch-size is -1"),
        ("concurrency", 0, "--concurrency is 0"),
        ("word_limit", 0, "--word-limit is 0"),
        ("max_side", 8, "--max-side is 8"),
        ("temperature", 0.0, "--temperature is 0.0"),
        ("timeout_s", 0.0, "--timeout-s is 0.0"),
        ("split", "test", "--split is 'test'"),
        ("precision", "int4", "--precision is 'int4'"),
        ("limit", 0, "--limit is 0"),
    ],
)
def test_a_value_out_of_range_is_named_by_its_flag(option, value, flag):
    with pytest.raises(ConfigError, match=flag):
        DescribeConfig("photos", out=Path("d.db"), **{option: value})


def test_two_prompts_at_once_are_refused():
    with pytest.raises(ConfigError, match="--prompt-file"):
        DescribeConfig("photos", out=Path("d.db"), prompt="short", prompt_file=Path("mine.txt"))
