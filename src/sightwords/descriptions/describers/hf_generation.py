"""A loaded model of transformers: what it is asked, how its answers are sampled, and what it answers to one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightwords.descriptions.describers.base import Answer, Decoding, Request
from sightwords.errors import ModelError

_STEPS = 256  # steps whose keys are drawn together, so that the token loop does nothing row by row


class RowSampler:
    """A logits processor that makes the argmax of each row a sample.

    The argmax of logits / T + g, with g standard Gumbel noise, is distributed as softmax(logits / T) (the Gumbel-max
    trick, Maddison et al., "A* Sampling", 2014, section 2). The noise is a function of (seed, step, token): an answer
    depends neither on the requests that share its batch nor on the device, and a batch is drawn in a few operations.

    Args:
        temperatures: temperature of each row, 0 for greedy.
        seeds: seed of each row.
        device: where the logits are.
    """

    def __init__(self, temperatures: Sequence[float], seeds: Sequence[int], device: torch.device) -> None:
        self._device = device
        self._inverse = torch.tensor([[1 / t if t > 0 else 1.0] for t in temperatures], device=device)
        self._amount = torch.tensor([[1.0 if t > 0 else 0.0] for t in temperatures], device=device)
        self._streams = [np.random.Philox(seed) for seed in seeds]
        self._keys = torch.empty(0)  # of the next steps, int32, shape (steps, B, 2)
        self._step = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores whose argmax is the next token of each row; greedy rows keep theirs.

        Args:
            input_ids: tokens so far, shape (B, L); not used.
            scores: logits, shape (B, V).
        """
        if self._step % _STEPS == 0:
            words = np.stack([stream.random_raw(_STEPS) for stream in self._streams], axis=1)  # uint64, (steps, B)
            keys = torch.from_numpy(words.view(np.int32).reshape(_STEPS, len(self._streams), 2))
            self._keys = keys.to(self._device)
        keys = self._keys[self._step % _STEPS]
        self._step += 1
        noise = gumbel_noise(keys, scores.shape[1])
        return torch.addcmul(noise.mul_(self._amount), scores.float(), self._inverse)


def gumbel_noise(keys: Tensor, num_tokens: int) -> Tensor:
    """Return standard Gumbel noise, float32, shape (B, num_tokens), a function of the keys alone.

    Each number comes from hashing the token's number with its row's keys by a 32-bit xor-shift-multiply mixer (the
    constants of C. Wellons' hash-prospector, its best with two rounds); the second key enters between the rounds, so
    that rows whose first keys are close do not draw each other's numbers.

    Args:
        keys: int32, shape (B, 2).
        num_tokens: size of the vocabulary.
    """
    tokens = torch.arange(num_tokens, dtype=torch.int32, device=keys.device)
    bits = tokens + keys[:, :1]
    bits ^= (bits >> 16) & 0xFFFF  # int32 shifts keep the sign; the mask makes them logical ones
    bits *= 0x21F0AAAD
    bits += keys[:, 1:]
    bits ^= (bits >> 15) & 0x1FFFF
    bits *= 0x735A2D97
    bits ^= (bits >> 15) & 0x1FFFF
    # 31 bits to (0, 1), open at both ends in float32; -log1p(-u) is an exponential draw, -log of that a Gumbel draw
    uniform = bits.bitwise_and_(0x7FFFFFFF).float().add_(0.5).mul_(2.0**-31).clamp_(max=1 - 2.0**-24)
    return uniform.neg_().log1p_().neg_().log_().neg_()


@dataclass(frozen=True)
class LoadedModel:
    """A network of transformers and what turns requests into its inputs.

    Attributes:
        source: name or folder, for messages.
        network: the model, on its device.
        processor: its processor, or the tokenizer of a text-only model; pads on the left.
    """

    source: str
    network: Any
    processor: Any
    # a tokenizer that encodes in one thread and is used in another raises "Already borrowed"
    _lock: Lock = field(default_factory=Lock)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the processor; a tokenizer is its own."""
        return getattr(self.processor, "tokenizer", self.processor)

    def encode(self, batch: Sequence[Request]) -> Any:
        """Return the inputs of a batch, padded on the left, still in the CPU's memory; may run beside `answer`.

        Args:
            batch: requests that all have an image, or all have none.

        Raises:
            ModelError: there is neither a chat template nor a token that stands for an image.
        """
        with self._lock:
            texts = self.chat_texts(batch)
            begin, options = self.tokenizer.bos_token, {"padding": True, "return_tensors": "pt"}
            if begin and texts[0].startswith(begin):
                options["add_special_tokens"] = False  # never two begin tokens
            if batch[0].image is None:
                return self.tokenizer(texts, **options)
            return self.processor(images=[[request.image] for request in batch], text=texts, **options)

    def chat_texts(self, batch: Sequence[Request]) -> list[str]:
        """Return each request as the user's turn of a chat.

        Raises:
            ModelError: there is neither a chat template nor a token that stands for an image.
        """
        if getattr(self.processor, "chat_template", None):
            turns = [[{"role": "user", "content": self._content(request)}] for request in batch]
            texts: list[str] = self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            return texts
        image_token = getattr(self.processor, "image_token", None)
        if image_token:
            return [request.text if request.image is None else f"{image_token}\n{request.text}" for request in batch]
        raise ModelError(
            f"{self.source} has no chat template and names no image token, so sightwords cannot tell how to ask it. "
            "Use an instruction-tuned model, or add a chat_template.jinja to its folder."
        )

    def _content(self, request: Request) -> Any:
        if self.tokenizer is self.processor:
            return request.text  # the templates of text-only models expect a string
        text = {"type": "text", "text": request.text}
        return [text] if request.image is None else [{"type": "image"}, text]

    def answer(self, inputs: Any, batch: Sequence[Request], decoding: Decoding) -> list[Answer]:
        """Return the answers to a batch that `encode` made the inputs of; each takes its part of the batch's time."""
        start_s = time.perf_counter()
        num_prompt_tokens = inputs["attention_mask"].sum(1).tolist()
        ends = self.network.generation_config.eos_token_id
        if ends is None:
            ends = self.tokenizer.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends or ())
        rows = self._generate(inputs, batch, decoding).tolist()
        lengths = [next((i for i, token in enumerate(row) if token in ends), None) for row in rows]
        whole = [row[:length] for row, length in zip(rows, lengths, strict=True)]
        with self._lock:
            texts = [self.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in whole]
        seconds = (time.perf_counter() - start_s) / len(batch)
        return [
            Answer(
                request,
                texts[i],
                cut_at=decoding.max_new_tokens if lengths[i] is None else None,
                num_prompt_tokens=num_prompt_tokens[i],
                num_text_tokens=len(whole[i]),
                seconds=seconds,
            )
            for i, request in enumerate(batch)
        ]

    @torch.inference_mode()
    def _generate(self, inputs: Any, batch: Sequence[Request], decoding: Decoding) -> Tensor:
        """Return the new tokens alone, int64, shape (B, L), padded behind each row's end token."""
        device, dtype = self.network.device, self.network.dtype
        inputs = {
            name: value.to(device, dtype if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
            if isinstance(value, Tensor)
        }
        published = self.network.generation_config
        config = type(published).from_dict(published.to_dict())
        # the noise of RowSampler does the sampling, so generate itself must be greedy
        config.update(do_sample=False, num_beams=1, temperature=None, top_p=None, top_k=None, max_length=None)
        config.update(max_new_tokens=decoding.max_new_tokens, pad_token_id=self.tokenizer.pad_token_id)
        temperatures = [decoding.temperature_of(request) for request in batch]
        seeds = [decoding.seed_of(request) for request in batch]
        samplers = [RowSampler(temperatures, seeds, device)] if any(temperatures) else []
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            output: Tensor = self.network.generate(**inputs, generation_config=config, logits_processor=samplers)
        prompt = inputs["input_ids"]
        # decoders repeat the prompt before the answer; encoder-decoders and those fed by embeddings do not
        repeats = output.shape[1] >= prompt.shape[1] and torch.equal(output[:, : prompt.shape[1]], prompt)
        return output[:, prompt.shape[1] :] if repeats else output
