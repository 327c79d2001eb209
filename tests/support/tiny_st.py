"""A text encoder small enough to be built in a test: a real architecture and tokenizer, random weights."""

from __future__ import annotations

from pathlib import Path

import torch

WORDS = """
    a an the of and with on in is small large red blue green round long short bird cat dog tail beak wing eye leaf
    tree stone water sky near under over two three four
"""


def build_st(folder: Path, seed: int = 0, limit: int = 16, prompt: str = "") -> Path:
    """Save a sentence-transformers model of 32 numbers, with random weights, and return its folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

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
