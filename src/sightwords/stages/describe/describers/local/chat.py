"""From requests to the inputs of a chat model: its template, its tokens and its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sightwords.errors import ModelError
from sightwords.stages.describe.describers.base import Request


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
