"""Text encoders small enough to be built in a test: real architectures and tokenizers, random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

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


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> Path:
    """A folder with an open_clip model named sightwords-tiny: `model.pt`, and `local` in open_clip's own layout."""
    import open_clip

    folder = tmp_path_factory.mktemp("clip")
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    (folder / "sightwords-tiny.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "sightwords-tiny.json")
    torch.manual_seed(0)
    model = open_clip.create_model("sightwords-tiny")
    torch.save(model.state_dict(), folder / "model.pt")
    local = folder / "local"
    local.mkdir()
    (local / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.save(model.state_dict(), local / "open_clip_pytorch_model.bin")
    return folder
