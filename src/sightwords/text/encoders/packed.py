"""Transformers of BERT's kind over texts laid end to end: no padding, so no arithmetic for tokens that do not exist.

The model's own modules run over the tokens of a batch together; attention alone runs text by text, for texts of one
length at once.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_OFFSETS: dict[str, Callable[[Any], int]] = {  # number of the first position
    "BertModel": lambda embeddings: 0,
    "RobertaModel": lambda embeddings: int(embeddings.padding_idx) + 1,
    "XLMRobertaModel": lambda embeddings: int(embeddings.padding_idx) + 1,
}


class PackedTransformer:
    """A frozen BERT, RoBERTa or XLM-RoBERTa with its pooling.

    Args:
        model: the model of transformers, on its device; it is not changed.
        pooling: `mean` over the tokens of a text, or `cls`, its first token.
        dtype: number type of weights and arithmetic.

    Raises:
        ValueError: the model or the pooling is of another kind.
    """

    def __init__(self, model: Any, pooling: str, dtype: torch.dtype) -> None:
        offset = _OFFSETS.get(type(model).__name__)
        if offset is None or pooling not in ("mean", "cls") or not _is_plain_encoder(model.config):
            raise ValueError(f"{type(model).__name__} with pooling {pooling!r} is not a plain encoder")
        self._model = model if model.dtype == dtype else copy.deepcopy(model).to(dtype)
        self._pooling = pooling
        self._first_position = offset(model.embeddings)
        self._num_heads = int(model.config.num_attention_heads)

    def __call__(self, texts: Sequence[np.ndarray]) -> Tensor:
        """Return the vector of each text, shape (N, D), on the device.

        Args:
            texts: token numbers of N texts, special ones included, none empty; fastest where equal lengths adjoin.
        """
        runs = [(length, len(list(group))) for length, group in itertools.groupby(map(len, texts))]
        with torch.inference_mode():
            x_TD = self._embed(texts, runs)
            for layer in self._model.encoder.layer:
                own = layer.attention.self
                attended_TD = self._attend(own.query(x_TD), own.key(x_TD), own.value(x_TD), runs)
                x_TD = layer.attention.output(attended_TD, x_TD)
                x_TD = layer.output(layer.intermediate(x_TD), x_TD)
            parts = [x_TD[rows].view(count, length, -1) for rows, length, count in _rows(runs)]
            return torch.cat([part[:, 0] if self._pooling == "cls" else part.float().mean(1) for part in parts])

    def _embed(self, texts: Sequence[np.ndarray], runs: list[tuple[int, int]]) -> Tensor:
        places = np.concatenate([np.tile(np.arange(length), count) for length, count in runs]) + self._first_position
        tokens = np.stack([np.concatenate(texts), places, np.zeros(len(places))]).astype(np.int64)
        input_ids, position_ids, token_type_ids = torch.from_numpy(tokens)[:, None].to(self._model.device)
        embedded: Tensor = self._model.embeddings(
            input_ids=input_ids, position_ids=position_ids, token_type_ids=token_type_ids
        )
        return embedded[0]

    def _attend(self, query_TD: Tensor, key_TD: Tensor, value_TD: Tensor, runs: list[tuple[int, int]]) -> Tensor:
        """Return the attended values of tokens that see their own text alone, shape (T, D)."""
        outputs = []
        for rows, length, count in _rows(runs):
            query, key, value = (
                x[rows].view(count, length, self._num_heads, -1).transpose(1, 2) for x in (query_TD, key_TD, value_TD)
            )
            attended = F.scaled_dot_product_attention(query, key, value)
            outputs.append(attended.transpose(1, 2).reshape(count * length, -1))
        return torch.cat(outputs)


def _rows(runs: list[tuple[int, int]]) -> list[tuple[slice, int, int]]:
    """Return the rows of each run of texts of one length: (rows, length, number of texts)."""
    ends = itertools.accumulate(length * count for length, count in runs)
    return [(slice(end - length * count, end), length, count) for end, (length, count) in zip(ends, runs, strict=True)]


def _is_plain_encoder(config: Any) -> bool:
    """Return whether nothing of the model's settings changes the arithmetic that is done here."""
    crossed = getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False)
    return not crossed and getattr(config, "position_embedding_type", "absolute") in ("absolute", None)
