"""CLIP scores: the cosine between an image and its description by an open_clip model that the user names.

Hessel et al., "CLIPScore: A Reference-free Evaluation Metric for Image Captioning", EMNLP 2021, without the factor 2.5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice

import numpy as np
import torch
from PIL import Image

from sightwords.descriptions.questions import Target, Targets
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ConfigError, UnreadableImageError
from sightwords.hub import choose_device, load_clip, weights_hash
from sightwords.images.decode import open_image
from sightwords.progress import Progress

_KIND = "openclip:"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class ClipScorer:
    """Image and text towers of an open_clip model.

    Args:
        identifier: openclip:MODEL/TAG, openclip:MODEL/PATH, openclip:local-dir:FOLDER or openclip:hf-hub:ORG/NAME.
        device: `auto`, or a torch device.

    Attributes:
        name: the model and a hash of its weights; scores of different names cannot be compared.

    Raises:
        ConfigError: the identifier is of another kind.
        MissingExtraError: open_clip is not installed.
        ModelError: the model cannot be loaded.
    """

    def __init__(self, identifier: str, device: str) -> None:
        if not identifier.startswith(_KIND):
            raise ConfigError(
                f"--clip-score is {identifier!r}; it must be openclip:MODEL/TAG_OR_CHECKPOINT, for example "
                "openclip:ViT-B-32/laion2b_s34b_b79k."
            )
        name = identifier.removeprefix(_KIND)
        other_ways = "Give a local checkpoint instead: --clip-score openclip:MODEL/FILE."
        clip = load_clip(name, f"--clip-score {identifier}", other_ways)
        self._model, self._tokenizer, self._preprocess = clip.model, clip.tokenizer, clip.preprocess
        self.name = f"{identifier}@{weights_hash(self._model)[:16]}"
        self._device = choose_device(device)
        self._model.to(self._device).eval()

    @torch.inference_mode()
    def images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Return normalized vectors, float32 (N, D)."""
        pixels = torch.stack([self._preprocess(image) for image in images]).to(self._device)
        return np.asarray(self._model.encode_image(pixels, normalize=True).float().cpu().numpy())

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return normalized vectors, float32 (N, D): the mean over sentences, since CLIP reads 77 tokens."""
        sentences = [_SENTENCE_END.split(text.strip()) for text in texts]
        owners = torch.tensor([i for i, parts in enumerate(sentences) for _ in parts], device=self._device)
        tokens = self._tokenizer([part for parts in sentences for part in parts]).to(self._device)
        vectors = self._model.encode_text(tokens, normalize=True)
        sums = torch.zeros(len(texts), vectors.shape[1], dtype=vectors.dtype, device=self._device)
        means = torch.nn.functional.normalize(sums.index_add(0, owners, vectors))
        return np.asarray(means.float().cpu().numpy())


def score_descriptions(
    store: DescriptionSet,
    rows: tuple[int, int],
    targets: Targets,
    scorer: ClipScorer,
    batch_size: int,
    stopping: Callable[[], bool],
) -> None:
    """Score the usable descriptions that have no score yet, and commit each batch; an unreadable image gets none.

    Args:
        store: the set.
        rows: row ids of prompt and describer.
        targets: the images.
        scorer: the model.
        batch_size: images at once.
        stopping: True once the run is to stop.
    """
    store.begin_clip_scores(scorer.name)
    waiting = iter(targets)
    with Progress("CLIP scores", len(targets), "images") as progress:
        while not stopping() and (chunk := list(islice(waiting, batch_size))):
            _score_batch(store, rows, {target.key: target for target in chunk}, scorer)
            progress.advance(len(chunk))


def _score_batch(store: DescriptionSet, rows: tuple[int, int], targets: dict[str, Target], scorer: ClipScorer) -> None:
    missing = [row for row in store.rows(*rows, list(targets)) if row.status == "ok" and row.clip_score is None]
    images: dict[str, Image.Image] = {}
    for key in dict.fromkeys(row.key for row in missing):
        reference = targets[key].reference
        assert reference is not None, "a class has no image"
        with suppress(UnreadableImageError):
            images[key] = open_image(reference).decode()
    scored = [row for row in missing if row.key in images]
    if scored:
        vectors = dict(zip(images, scorer.images(list(images.values())), strict=True))
        texts = scorer.texts([row.text for row in scored])
        cosines = [float(np.dot(vectors[row.key], text)) for row, text in zip(scored, texts, strict=True)]
        store.set_clip_scores(zip(cosines, scored, strict=True))
