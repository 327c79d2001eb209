"""Transformers of BERT's kind over texts laid end to end: no padding, so no arithmetic for tokens that do not exist.

All matrix products run over the tokens of a batch together; attention alone runs text by text, for texts of one length
at once. On the CPU the products take weights in oneDNN's own layout and are fused with what follows them (bias, GELU,
the residual), through operators that torch's compiler uses too; where they are missing, plain operators do the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_OFFSETS: dict[str, Callable[[Any], int]] = {  # number of the first position
    "BertModel": lambda embeddings: 0,
    "RobertaModel": lambda embeddings: int(embeddings.padding_idx) + 1,
    "XLMRobertaModel": lambda embeddings: int(embeddings.padding_idx) + 1,
}
POOLINGS = ("mean", "cls")
_TOKENS_HINT = 256  # rows that oneDNN lays the weights out for; any number works


class _Linear:
    """x W^T + b, alone or with what follows it."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: Callable[[Tensor], Tensor]) -> None:
        self.weight, self.bias, self.activation = weight, bias, activation

    def plain(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def activated(self, x: Tensor) -> Tensor:
        return self.activation(self.plain(x))

    def added(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.plain(x).add_(residual)


class _FusedLinear(_Linear):
    """The same by oneDNN, with the weight in its own layout and an exact GELU."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: Callable[[Tensor], Tensor]) -> None:
        self._reordered = torch.ops.mkldnn._reorder_linear_weight(weight, _TOKENS_HINT)
        super().__init__(weight[:0], bias, activation)

    def plain(self, x: Tensor) -> Tensor:
        return self._one(x, "none")

    def activated(self, x: Tensor) -> Tensor:
        return self._one(x, "gelu")

    def added(self, x: Tensor, residual: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._reordered, self.bias, "add")
        return found

    def _one(self, x: Tensor, after: str) -> Tensor:
        algorithm = "none" if after == "gelu" else ""  # of GELU: the exact one, not the approximation by tanh
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._reordered, self.bias, after, [], algorithm)
        return found


class _Norm:
    def __init__(self, layer: nn.LayerNorm, dtype: torch.dtype) -> None:
        self.weight, self.bias = layer.weight.detach().to(dtype), layer.bias.detach().to(dtype)
        self.shape, self.epsilon = tuple(layer.normalized_shape), layer.eps

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True)
class _Layer:
    query_key_value: _Linear
    attended: _Linear
    attention_norm: _Norm
    up: _Linear
    down: _Linear
    norm: _Norm


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
        if offset is None or pooling not in POOLINGS or not _is_plain_encoder(model.config):
            raise ValueError(f"{type(model).__name__} with pooling {pooling!r} is not a plain encoder")
        self._pooling = pooling
        self._first_position = offset(model.embeddings)
        self._num_heads = int(model.config.num_attention_heads)
        with torch.no_grad():
            self._set_weights(model, dtype)
        self._device = self._words.device

    def __call__(self, texts: Sequence[np.ndarray]) -> Tensor:
        """Return the vector of each text, shape (N, D), on the device.

        Args:
            texts: token numbers of N texts, special ones included, none empty; fastest where equal lengths adjoin.
        """
        runs = [(length, len(list(group))) for length, group in itertools.groupby(map(len, texts))]
        with torch.inference_mode():
            x = self._embed(texts, runs)
            for layer in self._layers:
                attended = self._attend(layer.query_key_value.plain(x), runs)
                x = layer.attention_norm(layer.attended.added(attended, x))
                x = layer.norm(layer.down.added(layer.up.activated(x), x))
            return self._pool(x, runs)

    def _set_weights(self, model: Any, dtype: torch.dtype) -> None:
        embeddings = model.embeddings
        self._words = embeddings.word_embeddings.weight.detach().to(dtype)
        places = embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]
        self._places = places.detach().to(dtype)
        self._norm = _Norm(embeddings.LayerNorm, dtype)
        activation = model.encoder.layer[0].intermediate.intermediate_act_fn
        linear = _linear_kind(self._words, activation)
        self._layers = [_read_layer(layer, dtype, linear, activation) for layer in model.encoder.layer]

    def _embed(self, texts: Sequence[np.ndarray], runs: list[tuple[int, int]]) -> Tensor:
        places = np.concatenate([np.tile(np.arange(length), count) for length, count in runs]) + self._first_position
        tokens = torch.from_numpy(np.concatenate(texts).astype(np.int64)).to(self._device)
        x = F.embedding(tokens, self._words) + F.embedding(torch.from_numpy(places).to(self._device), self._places)
        return self._norm(x)

    def _attend(self, query_key_value: Tensor, runs: list[tuple[int, int]]) -> Tensor:
        """Return the attended values of tokens that see their own text alone, shape (tokens, D)."""
        width = query_key_value.shape[1] // 3
        outputs = []
        for rows, length, count in _rows(runs):
            part = query_key_value[rows].view(count, length, 3, self._num_heads, width // self._num_heads)
            query, key, value = part.permute(2, 0, 3, 1, 4)
            attended = F.scaled_dot_product_attention(query, key, value)
            outputs.append(attended.transpose(1, 2).reshape(count * length, width))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _pool(self, x: Tensor, runs: list[tuple[int, int]]) -> Tensor:
        parts = [x[rows].view(count, length, -1) for rows, length, count in _rows(runs)]
        return torch.cat([part[:, 0] if self._pooling == "cls" else part.float().mean(1) for part in parts])


def _rows(runs: list[tuple[int, int]]) -> list[tuple[slice, int, int]]:
    """Return the rows of each run of texts of one length: (rows, length, number of texts)."""
    ends = list(itertools.accumulate(length * count for length, count in runs))
    return [(slice(end - length * count, end), length, count) for end, (length, count) in zip(ends, runs, strict=True)]


def _is_plain_encoder(config: Any) -> bool:
    """Whether nothing of the model's settings changes the arithmetic that is done here."""
    crossed = getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False)
    return not crossed and getattr(config, "position_embedding_type", "absolute") in ("absolute", None)


def _read_layer(
    layer: Any, dtype: torch.dtype, linear: type[_Linear], activation: Callable[[Tensor], Tensor]
) -> _Layer:
    attention = layer.attention

    def made(*parts: nn.Linear) -> _Linear:
        weight = torch.cat([part.weight for part in parts]).detach().to(dtype)
        return linear(weight.contiguous(), torch.cat([part.bias for part in parts]).detach().to(dtype), activation)

    own = attention.self
    return _Layer(
        made(own.query, own.key, own.value),
        made(attention.output.dense),
        _Norm(attention.output.LayerNorm, dtype),
        made(layer.intermediate.dense),
        made(layer.output.dense),
        _Norm(layer.output.LayerNorm, dtype),
    )


def _linear_kind(like: Tensor, activation: object) -> type[_Linear]:
    """Return the fused products where this torch has them for the CPU, and the model's activation is their GELU."""
    exact_gelu = type(activation).__name__ == "GELUActivation" or activation is F.gelu
    if like.device.type != "cpu" or not exact_gelu:
        return _Linear
    x, weight, bias = torch.ones(4, 16).to(like), torch.eye(16).to(like), torch.zeros(16).to(like)
    try:
        with torch.inference_mode():
            fused = _FusedLinear(weight, bias, F.gelu)
            found = fused.added(x, x) + fused.activated(x) + fused.plain(x)
    except (AttributeError, RuntimeError, TypeError):  # operators without a promise: another torch may have others
        return _Linear
    return _FusedLinear if torch.allclose(found, 3 * x + F.gelu(x), atol=0.05) else _Linear
