"""Image and text towers of an open_clip model, side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sightwords.hub import weights_hash
from sightwords.openclip import load_clip

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
