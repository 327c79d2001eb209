"""Text encoders small enough to be built in a test: real architectures and tokenizers, random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sightwords.artefacts.description import DescriberInfo, Description, Prompt
from sightwords.artefacts.description_set import DescriptionSet
from sightwords.stages.embed.config import EmbedConfig

WORDS = """
    a an the of and with on in is small large red blue green round long short bird cat dog tail beak wing eye leaf
    tree stone water sky near under over two three four
"""


@pytest.fixture(scope="session")
def build_st() -> Callable[..., Path]:
    """Return a function that saves a sentence-transformers model of 32 numbers to a folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    def build(folder: Path, seed: int = 0, limit: int = 16, prompt: str = "") -> Path:
        letters = list("abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"-")
        vocabulary = [
            "[PAD]",
            "[UNK]",
            "[CLS]",
            "[SEP]",
            "[MASK]",
            *letters,
            *(f"##{x}" for x in letters),
            *WORDS.split(),
        ]
        parts = folder / "parts"
        parts.mkdir(parents=True)
        (parts / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)))
        tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(dict.fromkeys(vocabulary))})
        tokenizer.save_pretrained(parts)
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=64,
        )  # fmt: skip
        BertModel(config).save_pretrained(parts)
        transformer = Transformer(str(parts), max_seq_length=limit)
        prompts = {"prompts": {"usual": prompt}, "default_prompt_name": "usual"} if prompt else {}
        model = SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu", **prompts)
        model.save(str(folder / "model"))
        return folder / "model"

    return build


@pytest.fixture(scope="session")
def tiny_st(build_st, tmp_path_factory) -> Path:
    """A sentence-transformers model with a limit of 16 tokens."""
    return build_st(tmp_path_factory.mktemp("st"))


@pytest.fixture
def descriptions(tmp_path) -> Path:
    """Three images, two prompts, two describers; the last image has only answers that cannot be used."""
    a, b, c = ("a" * 64, "b" * 64, "c" * 64)
    long = "A small red bird with a long tail. " * 4 + "It is near the water, under a tree. " * 3
    path = tmp_path / "D.db"
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


@pytest.fixture
def config(descriptions, tmp_path, tiny_st) -> EmbedConfig:
    return EmbedConfig(descriptions, out=tmp_path / "E", encoder=f"st:{tiny_st}", device="cpu", precision="fp32")
