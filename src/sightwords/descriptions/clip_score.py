"""How well an image and its description agree, by a CLIP model that the user names: one cosine a description."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sightwords.descriptions.questions import Target, Targets
from sightwords.descriptions.schema import Description
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ConfigError, UnreadableImageError
from sightwords.hub import weights_hash
from sightwords.images.decode import decode_image
from sightwords.openclip import load_clip
from sightwords.progress import Progress

_OTHER_WAYS = "Give a local checkpoint instead: --agreement openclip:MODEL/FILE."
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class ClipScorer:
    """Scores image and text with a model of open_clip.

    Args:
        name: MODEL/TAG, MODEL/PATH, local-dir:FOLDER or hf-hub:ORG/NAME.
        device: `auto`, or a torch device.

    Raises:
        MissingExtraError: open_clip is not installed.
        ModelError: the model cannot be had.
    """

    def __init__(self, name: str, device: str) -> None:
        clip = load_clip(
            name, f"--agreement openclip:{name}", "Give a local checkpoint instead: --agreement openclip:MODEL/FILE."
        )
        self._model, self._tokenizer, self._preprocess = clip.model, clip.tokenizer, clip.preprocess
        self.name = f"openclip:{name}@{weights_hash(self._model)[:16]}"
        self._device = torch.device(_device(device))
        self._model.to(self._device).eval()

    @torch.inference_mode()
    def images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Return normalized vectors, float32, shape (N, D)."""
        pixels = torch.stack([self._preprocess(image) for image in images]).to(self._device)
        return _numpy(self._model.encode_image(pixels, normalize=True))

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return normalized vectors, float32, shape (N, D): the mean over sentences, since CLIP reads 77 tokens."""
        sentences = [_SENTENCE_END.split(text.strip()) for text in texts]
        owners = torch.tensor([i for i, parts in enumerate(sentences) for _ in parts], device=self._device)
        tokens = self._tokenizer([part for parts in sentences for part in parts]).to(self._device)
        vectors = self._model.encode_text(tokens, normalize=True)
        sums = torch.zeros(len(texts), vectors.shape[1], dtype=vectors.dtype, device=self._device)
        return _numpy(torch.nn.functional.normalize(sums.index_add(0, owners, vectors)))


def _numpy(vectors: Tensor) -> np.ndarray:
    return np.asarray(vectors.float().cpu().numpy())


def _device(name: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


_KIND = "openclip:"


class Scorer(Protocol):
    """A model with an image and a text tower.

    Attributes:
        name: the model and its revision; scores of different names cannot be compared.
    """

    name: str

    def images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Return normalized vectors, float32, shape (N, D)."""

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return normalized vectors, float32, shape (N, D); a text beyond the model's limit is cut there."""


def open_scorer(identifier: str, device: str) -> Scorer:
    """Return the scorer of an ID.

    Raises:
        ConfigError: it is of no known kind.
        MissingExtraError: open_clip is not installed.
        ModelError: the model cannot be had.
    """
    if not identifier.startswith(_KIND):
        raise ConfigError(
            f"--agreement is {identifier!r}; it must be openclip:MODEL/TAG_OR_CHECKPOINT, for example "
            "openclip:ViT-B-32/laion2b_s34b_b79k."
        )

    return ClipScorer(identifier.removeprefix(_KIND), device)


def score_agreement(
    store: DescriptionSet,
    rows: tuple[int, int],
    targets: Targets,
    scorer: Scorer,
    batch_size: int,
    stopping: Callable[[], bool],
) -> int:
    """Score the usable descriptions that have no score yet; return how many that were.

    Each batch is committed, so a run that is killed goes on from there. Images that cannot be read stay without.

    Args:
        store: the set.
        rows: row ids of prompt and describer.
        targets: the images.
        scorer: the model.
        batch_size: images at once.
        stopping: True once the run is to stop.
    """
    store.begin_agreements(scorer.name)
    num_scored = 0
    waiting = iter(targets)
    with Progress("Scoring agreement", len(targets), "images") as progress:
        while not stopping() and (chunk := list(islice(waiting, batch_size))):
            num_scored += _score_chunk(store, rows, chunk, scorer)
            progress.advance(len(chunk))
    return num_scored


def _score_chunk(store: DescriptionSet, rows: tuple[int, int], chunk: Sequence[Target], scorer: Scorer) -> int:
    todo: dict[str, list[Description]] = {}
    for row in store.rows(*rows, [target.key for target in chunk]):
        if row.status == "ok" and row.agreement is None:
            todo.setdefault(row.key, []).append(row)
    pictures = {target.key: picture for target in chunk if target.key in todo and (picture := _picture(target))}
    if not pictures:
        return 0
    vectors = dict(zip(pictures, scorer.images(list(pictures.values())), strict=True))
    asked = [row for key in pictures for row in todo[key]]
    texts = scorer.texts([row.text for row in asked])
    scores = [float(np.dot(vectors[row.key], text)) for row, text in zip(asked, texts, strict=True)]
    store.set_agreements(zip(scores, asked, strict=True))
    return len(asked)


def _picture(target: Target) -> Image.Image | None:
    assert target.member is not None, "classes have no picture"
    try:
        return decode_image(target.member.read(), target.name)
    except (OSError, UnreadableImageError):
        return None
