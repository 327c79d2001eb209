"""How fast `sightwords embed` is on this machine, beside two other ways to encode the same texts.

    python benchmarks/embed.py --texts 3000 --repeats 3

One encoder (builtin:minilm), one number of threads, the same texts in the same order: 10 to 130 tokens, log-normally
distributed, of English words (those of the encoder's vocabulary, the frequent ones more often), one third of them
repetitions of others. In turns, `--repeats` times:

    ours          all that `sightwords embed` does once the descriptions are read: from choosing the arithmetic to the
                  embedding set on the disk
    fixed         batches of 64 in the given order, padded to the encoder's limit, as the code of the GPT4Image authors
    library       SentenceTransformer.encode with its defaults

Loading the model is left out everywhere. Seconds are medians; those of the processor are summed over its cores. The
smallest cosine is that of a text's vector to the library's in float32.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.text.config import EmbedConfig
from sightwords.text.embed import make_set, read_texts
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.text.encoders import open_encoder
from sightwords.text.encoders.st import minilm_folder

SHORTEST, MEDIAN, LONGEST, SPREAD = 10, 40, 130, 0.55  # tokens; spread of their logarithm
SPECIAL = 2  # tokens that the encoder adds to each text, and the full stop is another
FIXED_BATCH = 64


def make_texts(count: int, seed: int = 0) -> list[str]:
    """Return texts of English words in random order, one third of them repetitions."""
    random = np.random.default_rng(seed)
    words = vocabulary()
    frequency = 1 / np.arange(10, len(words) + 10)  # Zipf's law; the vocabulary is sorted by frequency, roughly
    num_distinct = count - count // 3
    lengths = np.clip(np.exp(random.normal(np.log(MEDIAN), SPREAD, num_distinct)), SHORTEST, LONGEST).astype(int)
    drawn = [random.choice(words, n - SPECIAL - 1, p=frequency / frequency.sum()) for n in lengths]
    distinct = [f"{' '.join(one)}." for one in drawn]
    repeated = [distinct[i] for i in random.integers(0, num_distinct, count - num_distinct)]
    texts = [*distinct, *repeated]
    return [texts[i] for i in random.permutation(count)]


def vocabulary() -> list[str]:
    """Return the whole words of the encoder's vocabulary."""
    lines = (minilm_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return [word for word in lines if re.fullmatch("[a-z]{2,}", word)]


def encode_ours(texts: Sequence[str], folder: Path) -> Callable[[], np.ndarray]:
    """Return a function that makes the embedding set and returns a vector for each text."""
    with DescriptionSet(folder / "D.db", create=True) as store:
        prompt, describer = store.add_prompt(Prompt("plain", 1, "")), store.add_describer(DescriberInfo("none", "none"))
        store.put([Description(f"{i:064x}", prompt, describer, 0, text) for i, text in enumerate(texts)])
    config = EmbedConfig(folder / "D.db", out=folder / "E", device="cpu")
    read = read_texts(config)
    encoder = open_encoder(config.encoder, config.device)

    def encode() -> np.ndarray:
        print(f"    {make_set(config, read, encoder).summary()}")
        return np.asarray(EmbeddingSet(config.out).vectors[read.rows], np.float32)

    return encode


def encode_fixed(texts: Sequence[str]) -> Callable[[], np.ndarray]:
    """Return the loop of fixed batches in the given order, padded to the limit."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm_folder()), device="cpu", local_files_only=True)
    limit = model.max_seq_length

    def encode() -> np.ndarray:
        vectors = []
        with torch.no_grad():
            for start in range(0, len(texts), FIXED_BATCH):
                batch = list(texts[start : start + FIXED_BATCH])
                padded = model.tokenizer(
                    batch, padding="max_length", truncation=True, max_length=limit, return_tensors="pt"
                )
                vectors.append(model(dict(padded))["sentence_embedding"].numpy())
        return np.concatenate(vectors)

    return encode


def encode_library(texts: Sequence[str]) -> Callable[[], np.ndarray]:
    """Return SentenceTransformer.encode with its defaults but the bar."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm_folder()), device="cpu", local_files_only=True)
    return lambda: model.encode(list(texts), show_progress_bar=False)


def smallest_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Return the smallest cosine between vectors of the same row."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(1) / lengths).min())


@dataclass
class Measured:
    """One way to encode: seconds of each turn by the clock and of the processor, and the vectors of the last one."""

    clock_s: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    vectors: np.ndarray = field(default_factory=lambda: np.zeros(0))


def measure(ways: dict[str, Callable[[], np.ndarray]], repeats: int) -> dict[str, Measured]:
    """Run all ways in turns and return what was measured of each."""
    found = {name: Measured() for name in ways}
    for repeat in range(repeats):
        for name, encode in ways.items():
            start_s, start_processor_s = time.perf_counter(), time.process_time()
            found[name].vectors = encode()
            found[name].clock_s.append(time.perf_counter() - start_s)
            found[name].processor_s.append(time.process_time() - start_processor_s)
            load = os.getloadavg()[0]
            print(f"  {repeat + 1}/{repeats} {name}: {found[name].clock_s[-1]:.2f} s (load {load:.1f})", flush=True)
    return found


def report(measured: dict[str, Measured], num_texts: int) -> None:
    """Print medians, by how much ours is faster, and cosines."""
    print(
        f"\n{'way':10}{'median s':>10}{'texts/s':>10}{'ours is faster':>16}{'processor s':>13}{'smallest cosine':>17}"
    )
    ours_s = statistics.median(measured["ours"].clock_s)
    for name, one in measured.items():
        clock_s, processor_s = statistics.median(one.clock_s), statistics.median(one.processor_s)
        cosine = smallest_cosine(one.vectors, measured["library"].vectors)
        figures = (
            f"{clock_s:10.2f}{num_texts / clock_s:10.1f}{clock_s / ours_s:14.2f} x{processor_s:13.2f}{cosine:17.6f}"
        )
        print(f"{name:10}{figures}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    texts = make_texts(arguments.texts)
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "ours": encode_ours(texts, Path(folder)),
            "fixed": encode_fixed(texts),
            "library": encode_library(texts),
        }
        ways["library"]()  # warms up what all share: threads, allocator
        print(f"{len(texts)} texts, {len(set(texts))} distinct, {arguments.threads} threads, torch {torch.__version__}")
        report(measure(ways, arguments.repeats), len(texts))


if __name__ == "__main__":
    main()
