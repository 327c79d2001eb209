"""A loaded model, and what it answers to one batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightwords.descriptions.describers.base import Decoding, Request
from sightwords.errors import ModelError

_STEPS = 256  # steps whose keys are drawn together, so that the token loop does nothing row by row


class RowSampler:
    """A logits processor that makes the argmax of each row a sample.

    The argmax of logits / T + g, with g independent standard Gumbel noise, is distributed as softmax(logits / T) (the
    Gumbel-max trick, Maddison et al., "A* Sampling", 2014, section 2). So greedy decoding does the sampling. The noise
    is a function of (seed, step, token) and not the state of a generator: an answer depends neither on the requests
    that share its batch nor on the device, and the whole batch is drawn in a few operations.

    Args:
        temperatures: temperature of each row, 0 for greedy.
        seeds: seed of each row.
        device: where the logits are.
    """

    def __init__(self, temperatures: Sequence[float], seeds: Sequence[int], device: torch.device) -> None:
        self._device = device
        self._inverse = _column([1 / t if t > 0 else 1.0 for t in temperatures], device)
        self._amount = _column([1.0 if t > 0 else 0.0 for t in temperatures], device)
        self._streams = [np.random.Philox(seed) for seed in seeds]
        self._keys = torch.empty(0)
        self._step = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores whose argmax is the next token of each row; greedy rows keep theirs.

        Args:
            input_ids: tokens so far, shape (B, L); not used.
            scores: logits, shape (B, V).
        """
        if self._step % _STEPS == 0:
            self._keys = self._draw_keys()
        keys = self._keys[self._step % _STEPS]
        self._step += 1
        noise = gumbel_noise(keys, scores.shape[1])
        return torch.addcmul(noise.mul_(self._amount), scores.float(), self._inverse)

    def _draw_keys(self) -> Tensor:
        """Return the keys of the next steps, int32, shape (steps, B, 2)."""
        words = np.stack([stream.random_raw(_STEPS) for stream in self._streams], axis=1)  # uint64, (steps, B)
        return torch.from_numpy(words.view(np.int32).reshape(_STEPS, len(self._streams), 2)).to(self._device)


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


def _column(values: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None]


def encode(processor: Any, source: str, batch: Sequence[Request]) -> Any:
    """Return a batch of model inputs, padded on the left: one text per request, and one picture where they have one.

    Args:
        processor: a processor, or the tokenizer of a text-only model.
        source: the model's name, for messages.
        batch: requests that all have a picture, or all have none.

    Raises:
        ModelError: there is neither a chat template nor a token that stands for an image.
    """
    texts = chat_texts(processor, source, batch)
    tokenizer = tokenizer_of(processor)
    begin = tokenizer.bos_token
    options = {"padding": True, "return_tensors": "pt"}
    if begin and texts[0].startswith(begin):
        options["add_special_tokens"] = False  # never two begin tokens
    if batch[0].picture is None:
        return tokenizer(texts, **options)
    return processor(images=[[request.picture] for request in batch], text=texts, **options)


def chat_texts(processor: Any, source: str, batch: Sequence[Request]) -> list[str]:
    """Return what each request looks like as the user's turn of a chat.

    Raises:
        ModelError: there is neither a chat template nor a token that stands for an image.
    """
    if getattr(processor, "chat_template", None):
        turns = [[{"role": "user", "content": _content(processor, request)}] for request in batch]
        texts: list[str] = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return texts
    image_token = getattr(processor, "image_token", None)
    if image_token:
        return [request.text if request.picture is None else f"{image_token}\n{request.text}" for request in batch]
    raise ModelError(
        f"{source} has no chat template and names no image token, so sightwords cannot tell how to ask it. Use an "
        "instruction-tuned model, or add a chat_template.jinja to its folder."
    )


def tokenizer_of(processor: Any) -> Any:
    """Return the tokenizer of a processor; a tokenizer is its own."""
    return getattr(processor, "tokenizer", processor)


def bound_tiles(processor: Any, max_side: int) -> None:
    """Keep processors that cut images into tiles (Idefics3, SmolVLM) from enlarging images beyond `max_side`.

    They enlarge every image, to 2048 pixels for SmolVLM, and so read a small picture as 17 tiles at many times the
    cost; an image within one tile is then one tile.
    """
    image_processor = getattr(processor, "image_processor", None)
    tile = getattr(image_processor, "max_image_size", None)
    size = getattr(image_processor, "size", None)
    if image_processor is None or not tile or not size or not size.get("longest_edge"):
        return
    longest = max(max_side, tile["longest_edge"])
    image_processor.size = {"longest_edge": min(size["longest_edge"], longest)}


def _content(processor: Any, request: Request) -> Any:
    if tokenizer_of(processor) is processor:
        return request.text  # the templates of text-only models expect a string
    text = {"type": "text", "text": request.text}
    return [text] if request.picture is None else [{"type": "image"}, text]


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
