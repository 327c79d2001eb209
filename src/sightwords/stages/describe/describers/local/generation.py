"""A loaded model, and what it answers to one batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from sightwords.stages.describe.describers.base import Decoding, Request
from sightwords.stages.describe.describers.local.chat import encode, tokenizer_of
from sightwords.stages.describe.describers.local.sampling import RowSampler


@dataclass(frozen=True)
class Reply:
    """The answer of one row.

    Attributes:
        text: what was generated, without special tokens.
        num_prompt_tokens: tokens of the prompt, the picture's included.
        num_text_tokens: tokens of the answer, its end token not included.
        is_cut: whether the token limit ended it.
    """

    text: str
    num_prompt_tokens: int
    num_text_tokens: int
    is_cut: bool


@dataclass(frozen=True)
class LoadedModel:
    """A network of transformers and what turns requests into its inputs.

    Attributes:
        source: name or folder, for messages.
        network: the model, on `device`.
        processor: its processor, or the tokenizer of a text-only model; pads on the left.
        device: where it runs.
        dtype: its number format.
    """

    source: str
    network: Any
    processor: Any
    device: torch.device
    dtype: torch.dtype
    # a tokenizer that encodes in one thread and is used in another raises "Already borrowed"
    _lock: Lock = field(default_factory=Lock)

    def encode(self, batch: Sequence[Request]) -> Any:
        """Return the inputs of a batch, still in the CPU's memory; may run in a thread beside `reply`."""
        with self._lock:
            return encode(self.processor, self.source, batch)

    def reply(self, inputs: Any, batch: Sequence[Request], decoding: Decoding) -> list[Reply]:
        """Return what the model answers to each request of a batch."""
        num_prompt_tokens = inputs["attention_mask"].sum(1).tolist()
        tokens = self._generate(self._to_device(inputs), batch, decoding).tolist()
        ends = self._end_tokens()
        answers = [until_end(row, ends) for row in tokens]
        with self._lock:
            texts = [tokenizer_of(self.processor).decode(row, skip_special_tokens=True) for row, _ in answers]
        return [
            Reply(text, prompt, len(row), is_cut)
            for text, prompt, (row, is_cut) in zip(texts, num_prompt_tokens, answers, strict=True)
        ]

    @torch.inference_mode()
    def _generate(self, inputs: dict[str, Any], batch: Sequence[Request], decoding: Decoding) -> Tensor:
        """Return the new tokens alone, int64, shape (B, L), padded behind each row's end token."""
        published = self.network.generation_config
        config = type(published).from_dict(published.to_dict())
        # the noise of RowSampler does the sampling, so generate itself must be greedy
        config.update(do_sample=False, num_beams=1, temperature=None, top_p=None, top_k=None, max_length=None)
        pad = tokenizer_of(self.processor).pad_token_id
        config.update(max_new_tokens=decoding.max_new_tokens, pad_token_id=pad)
        temperatures = [decoding.temperature_of(request) for request in batch]
        seeds = [decoding.seed_of(request) for request in batch]
        samplers = [RowSampler(temperatures, seeds, self.device)] if any(temperatures) else []
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            output: Tensor = self.network.generate(**inputs, generation_config=config, logits_processor=samplers)
        prompt = inputs["input_ids"]
        # decoders repeat the prompt before the answer; encoder-decoders and those fed by embeddings do not
        repeats = output.shape[1] >= prompt.shape[1] and torch.equal(output[:, : prompt.shape[1]], prompt)
        return output[:, prompt.shape[1] :] if repeats else output

    def _to_device(self, inputs: Any) -> dict[str, Any]:
        def moved(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return value.to(self.device, self.dtype if value.is_floating_point() else value.dtype)

        return {name: moved(value) for name, value in inputs.items()}

    def _end_tokens(self) -> set[int]:
        ends = self.network.generation_config.eos_token_id
        if ends is None:
            ends = tokenizer_of(self.processor).eos_token_id
        return {ends} if isinstance(ends, int) else set(ends or ())


def until_end(tokens: Sequence[int], ends: set[int]) -> tuple[list[int], bool]:
    """Return the tokens before the first end token, and whether there was none (the limit cut the answer)."""
    for position, token in enumerate(tokens):
        if token in ends:
            return list(tokens[:position]), False
    return list(tokens), True
