"""`hf:NAME_OR_FOLDER`: any image-text-to-text model of transformers, run here."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from sightwords.artefacts.description_set import DescriberInfo
from sightwords.errors import ConfigError, MissingExtraError, ModelError
from sightwords.stages.describe.describers.base import Answer, Decoding, Request, answered, decode_within
from sightwords.stages.describe.describers.revision import folder_revision
from sightwords.stages.describe.describers.sampling import RowSampler

_WINDOW = 4  # batches that are sorted together, so that a batch holds questions of like size
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class HFDescriber:
    """Describes with a model of transformers in this process.

    Args:
        source: name on the Hugging Face hub, or a folder.
        decoding: how answers are drawn.
        batch_size: images at once.
        device: `auto`, or a torch device.
        precision: `auto`, `fp32`, `bf16` or `fp16`.

    Raises:
        MissingExtraError: transformers is not installed.
        ConfigError: the device is not there.
        ModelError: the folder does not exist.
    """

    def __init__(
        self, source: str, decoding: Decoding, batch_size: int = 8, device: str = "auto", precision: str = "auto"
    ) -> None:
        self.transformers = _transformers()
        self.folder = _folder(source)
        self.source = str(self.folder) if self.folder else source
        self.decoding = decoding
        self.batch_size = batch_size
        self.device = pick_device(device)
        self.dtype = pick_dtype(precision, self.device)
        self.num_ahead = 2 * _WINDOW * batch_size
        self._revision = ""

    def info(self) -> DescriberInfo:
        """Return the model's name and revision: the commit of a hub model, a hash of the contents of a folder.

        A folder is named by its last part alone, so that the set can be shared and the folder moved.

        Raises:
            ModelError: the model cannot be found, or is no image-text-to-text model.
        """
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

        with _loading(self.source):
            config = self.transformers.AutoConfig.from_pretrained(self.source, trust_remote_code=False)
        if config.model_type not in KNOWN:
            raise ModelError(
                f"{self.source} is a {config.model_type} model, which transformers does not list as image-text-to-text "
                "(it cannot describe images). Name a vision-language model, such as SmolVLM, Qwen-VL or LLaVA."
            )
        self._revision = getattr(config, "_commit_hash", None) or ""
        name = self.folder.name if self.folder else self.source
        revision = folder_revision(self.folder) if self.folder else self._revision
        return DescriberInfo(f"hf:{name}", name, revision, self.decoding.parameters())

    def prepare(self, data: bytes, name: str) -> Image.Image:
        """Return the picture, upright RGB, within the largest side.

        Raises:
            UnreadableImageError: the bytes cannot be turned into pixels.
        """
        return decode_within(data, name, self.decoding.max_side)

    def describe(self, requests: Iterable[Request]) -> Generator[Answer]:
        """Yield the answers batch by batch.

        Raises:
            ModelError: the model cannot be loaded or run.
        """
        model, processor = self._load()
        waiting = iter(requests)
        while window := list(islice(waiting, _WINDOW * self.batch_size)):
            window.sort(key=_size)
            for start in range(0, len(window), self.batch_size):
                yield from self._answers(model, processor, window[start : start + self.batch_size])

    def _load(self) -> tuple[Any, Any]:
        options: dict[str, Any] = {"revision": self._revision} if self._revision else {}
        options["trust_remote_code"] = False  # code from the hub would run here with the user's rights
        with _loading(self.source):
            processor = self.transformers.AutoProcessor.from_pretrained(self.source, **options)
            loader = self.transformers.AutoModelForImageTextToText
            model = loader.from_pretrained(self.source, dtype=self.dtype, **options)
        tokenizer = getattr(processor, "tokenizer", None)
        if tokenizer is None:
            raise ModelError(f"{self.source} has no processor with a tokenizer, so it cannot be asked. Name another.")
        tokenizer.padding_side = "left"  # what is generated follows the last token of every row
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        bound_tiles(processor, self.decoding.max_side)
        return model.to(self.device).eval(), processor

    def _answers(self, model: Any, processor: Any, batch: Sequence[Request]) -> Iterator[Answer]:
        start_s = time.perf_counter()
        try:
            inputs = encode(processor, self.source, batch).to(self.device, dtype=self.dtype)
            new_tokens = self._generate(model, processor, inputs, batch)
        except torch.OutOfMemoryError:
            raise ModelError(
                f"{self.source} does not fit into the memory of {self.device} with {len(batch)} images at once. "
                "Use a smaller --batch-size, --max-side or --max-new-tokens."
            ) from None
        seconds = (time.perf_counter() - start_s) / len(batch)
        ends = _end_tokens(model, processor)
        for row, request in enumerate(batch):
            tokens, cut = until_end(new_tokens[row].tolist(), ends)
            text = processor.tokenizer.decode(tokens, skip_special_tokens=True)
            cut_at = self.decoding.max_new_tokens if cut else None
            yield answered(request, text, int(inputs["attention_mask"][row].sum()), len(tokens), seconds, cut_at)

    @torch.inference_mode()
    def _generate(self, model: Any, processor: Any, inputs: Any, batch: Sequence[Request]) -> Tensor:
        """Return the new tokens alone, int64, shape (B, L), padded behind each row's end token."""
        config = self.transformers.GenerationConfig.from_dict(model.generation_config.to_dict())
        # the noise of RowSampler does the sampling, so generate itself must be greedy
        config.update(do_sample=False, num_beams=1, temperature=None, top_p=None, top_k=None, max_length=None)
        config.update(max_new_tokens=self.decoding.max_new_tokens, pad_token_id=processor.tokenizer.pad_token_id)
        temperatures = [self.decoding.temperature_of(request) for request in batch]
        sampler = RowSampler(temperatures, [self.decoding.seed_of(request) for request in batch], self.device)
        processors = self.transformers.LogitsProcessorList([sampler])
        output: Tensor = model.generate(**inputs, generation_config=config, logits_processor=processors)
        prompt = inputs["input_ids"]
        # decoders repeat the prompt before the answer; encoder-decoders and those fed by embeddings do not
        repeats = output.shape[1] >= prompt.shape[1] and torch.equal(output[:, : prompt.shape[1]], prompt)
        return (output[:, prompt.shape[1] :] if repeats else output).cpu()


def encode(processor: Any, source: str, batch: Sequence[Request]) -> Any:
    """Return a batch of model inputs, padded on the left, for one picture and one text per request.

    Raises:
        ModelError: the processor has neither a chat template nor a token that stands for an image.
    """
    if getattr(processor, "chat_template", None):
        turns = [[_user_turn(request)] for request in batch]
        texts = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    elif image_token := getattr(processor, "image_token", None):
        texts = [f"{image_token}\n{request.text}" for request in batch]
    else:
        raise ModelError(
            f"The processor of {source} has no chat template and names no image token, so sightwords cannot tell how "
            "to ask it. Use an instruction-tuned model, or add a chat_template.jinja to its folder."
        )
    begin = processor.tokenizer.bos_token
    special = {"add_special_tokens": False} if begin and texts[0].startswith(begin) else {}  # never two begin tokens
    pictures = [[request.picture] for request in batch]
    return processor(images=pictures, text=texts, padding=True, return_tensors="pt", **special)


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


def until_end(tokens: Sequence[int], ends: set[int]) -> tuple[list[int], bool]:
    """Return the tokens before the first end token, and whether there was none (the limit cut the answer)."""
    for position, token in enumerate(tokens):
        if token in ends:
            return list(tokens[:position]), False
    return list(tokens), True


def pick_device(device: str) -> torch.device:
    """Return the device of that name; `auto` is a GPU where there is one.

    Raises:
        ConfigError: it is no device, or not one of this machine.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {device} cannot be used: {reason}. Use auto, cpu, cuda, cuda:N or mps.") from None


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the number format; `auto` is bf16 on GPUs that compute in it, fp16 on older ones, fp32 elsewhere."""
    if precision != "auto":
        return _DTYPES[precision]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _user_turn(request: Request) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": request.text}]}


def _size(request: Request) -> tuple[int, int]:
    width, height = request.picture.size
    return width * height, len(request.text)


def _end_tokens(model: Any, processor: Any) -> set[int]:
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = processor.tokenizer.eos_token_id
    return {ends} if isinstance(ends, int) else set(ends or ())


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "hf") from None
    return transformers


def _folder(source: str) -> Path | None:
    """Return the folder that a source names, None where it is a name on the hub."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path.resolve()
    if source.startswith(("/", "./", "../", "~")):
        raise ModelError(f"There is no folder {source}. Name a folder that holds config.json, weights and processor.")
    return None


@contextmanager
def _loading(source: str) -> Iterator[None]:
    """Turn what transformers raises while loading into a ModelError that says what to do."""
    try:
        yield
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{source} needs a library that is not installed: {reason}") from None
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"Cannot load {source}: {reason[:400].rstrip('.')}. Point to a model folder that is already here "
            "(--describer hf:/path/to/folder) or to a running server (--describer server:MODEL@URL)."
        ) from None
