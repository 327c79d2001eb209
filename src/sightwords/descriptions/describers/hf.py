"""`hf:NAME_OR_FOLDER`: any image-text-to-text model of transformers, run here; about classes, any causal one too."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from sightwords.descriptions.describers.base import Answer, Decoding, Describer, Request
from sightwords.descriptions.describers.hf_generation import LoadedModel
from sightwords.descriptions.schema import DescriberInfo
from sightwords.errors import MissingExtraError, ModelError, SightwordsError
from sightwords.hub import cannot_load, choose_device, folder_hash
from sightwords.images.decode import thumbnail

if TYPE_CHECKING:
    from sightwords.descriptions.config import DescribeConfig

_WINDOW = 4  # batches that are sorted together, so that a batch holds questions of like size
_GROW_AFTER = 16  # full batches that fit, after which a larger one is tried
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")

Encoded = tuple[list[Request], Future[Any]]


class HFDescriber(Describer):
    """Describes with a model of transformers in this process.

    Its precision `auto` is bf16 on GPUs that compute in it, fp16 on older ones, else fp32.

    Raises:
        MissingExtraError: transformers is not installed.
        ConfigError: the device is not there.
        ModelError: the folder does not exist.
    """

    def __init__(self, name: str, config: DescribeConfig, sees_images: bool = True) -> None:
        super().__init__(name, config, sees_images)
        try:
            import transformers
        except ImportError:
            raise MissingExtraError("transformers", "describe") from None
        self.transformers: Any = transformers
        self.folder = _folder(name)
        self.source = str(self.folder) if self.folder else name
        self.decoding, self.batch_size, self.sees_images = Decoding.of(config), config.batch_size, sees_images
        self.device = choose_device(config.device)
        has_bf16 = self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        best = "fp32" if self.device.type != "cuda" else "bf16" if has_bf16 else "fp16"
        self.dtype = _DTYPES[best if config.precision == "auto" else config.precision]
        self.encodes_ahead = self.device.type != "cpu"  # there it would only take the cores from the model
        self.num_ahead = 2 * _WINDOW * self.batch_size
        self._limit, self._num_fitting, self._grow_after = self.batch_size, 0, _GROW_AFTER
        self._config: Any = None
        self._model: LoadedModel | None = None

    def info(self) -> DescriberInfo:
        """Return the model's name, of a folder its last part alone, and its revision: a commit, or a folder's hash.

        Raises:
            ModelError: the model cannot be found, or is of a kind that cannot answer what is asked.
        """
        self._check_kind()
        name = self.folder.name if self.folder else self.source
        revision = folder_hash(self.folder)[:16] if self.folder else self._commit()
        return DescriberInfo(f"hf:{name}", name, revision, asdict(self.decoding))

    def prepare(self, data: bytes, name: str) -> Image.Image:
        """Return the image, upright RGB, within the largest side.

        Raises:
            UnreadableImageError: the bytes cannot be turned into pixels.
        """
        return thumbnail(data, name, self.decoding.max_side)

    def describe(self, requests: Iterable[Request], stopping: Callable[[], bool]) -> Generator[Answer]:
        """Yield the answers batch by batch; the model is loaded at the first request and stays.

        A batch that fails is asked again in halves, in the end one request alone, so that one image that the model
        cannot take costs no other its answer. Where memory ran out, later batches are no larger than the halves; after
        a number of full batches that fit, twice as many are tried again, each time after twice as long a wait.

        Raises:
            ModelError: the model cannot be loaded or asked.
        """
        waiting, batches = iter(requests), deque[list[Request]]()
        pool = ThreadPoolExecutor(1, "sightwords-encode")
        try:
            current = self._encoded(waiting, batches, pool)
            while current and not stopping():
                ahead = self._encoded(waiting, batches, pool) if self.encodes_ahead else None
                batch, inputs = current
                if answers := self._ask(batch, inputs):
                    yield from answers
                else:
                    # before what was encoded ahead, which may be too large now
                    middle = (len(batch) + 1) // 2
                    batches.extendleft([*([ahead[0]] if ahead else []), batch[middle:], batch[:middle]])
                    ahead = None
                current = ahead or self._encoded(waiting, batches, pool)
        finally:
            pool.shutdown(cancel_futures=True)

    def _encoded(self, waiting: Iterator[Request], batches: deque[list[Request]], pool: Executor) -> Encoded | None:
        """Return the next batch with its inputs in the making, None where nothing is left to ask."""
        if not batches:
            batches.extend(like_batches(list(islice(waiting, _WINDOW * self.batch_size)), self.batch_size))
        if not batches:
            return None
        batch = batches.popleft()
        if len(batch) > self._limit:
            batches.appendleft(batch[self._limit :])
        batch = batch[: self._limit]
        if self._model is None:
            self._model = self.load()  # now that requests were taken, so that images are prepared meanwhile
        return batch, pool.submit(self._model.encode, batch)

    def _ask(self, batch: list[Request], inputs: Future[Any]) -> list[Answer]:
        """Return the answers to a batch; none where it failed and halves of it are to be asked."""
        assert self._model is not None
        try:
            answers = self._model.answer(inputs.result(), batch, self.decoding)
        except SightwordsError:
            raise
        except Exception as error:  # a model's own code may raise anything, and must not end the run for one image
            no_memory = is_out_of_memory(error)
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
            reason = f"the model failed on it: {said.rstrip(': ')}"
        else:
            self._grow(len(batch))
            return answers
        if no_memory:  # only now: the error's traceback held on to the batch's memory
            reason = (
                f"does not fit into the memory of {self.device} even alone; use a smaller --max-side or "
                "--max-new-tokens, --precision bf16, or a smaller model"
            )
            self._shrink(len(batch))
        return [Answer(batch[0], "", "failed", reason)] if len(batch) == 1 else []

    def _grow(self, num_requests: int) -> None:
        """Try larger batches again after a while: what fits depends on the images, and on who else uses the device."""
        self._num_fitting += num_requests >= self._limit
        if self._limit < self.batch_size and self._num_fitting >= self._grow_after:
            former, self._limit = self._limit, min(self.batch_size, 2 * self._limit)
            self._num_fitting, self._grow_after = 0, 2 * self._grow_after
            self.notices.append(f"Batches of {former} fit into memory for a while; {self._limit} are tried again.")

    def _shrink(self, num_requests: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()
        if num_requests > 1:
            self._limit, self._num_fitting = (num_requests + 1) // 2, 0
            self.notices.append(
                f"Memory of {self.device} ran out at a batch of {num_requests}; it goes on with {self._limit}."
            )

    def load(self) -> LoadedModel:
        """Return the model with its processor, on its device.

        Raises:
            ModelError: it cannot be loaded or asked.
        """
        sees_images = self._check_kind()
        options: dict[str, Any] = {"revision": self._commit()} if self._commit() else {}
        options["trust_remote_code"] = False  # code from the hub would run here with the user's rights
        library = self.transformers
        reader = library.AutoProcessor if sees_images else library.AutoTokenizer
        loader = library.AutoModelForImageTextToText if sees_images else library.AutoModelForCausalLM
        with _loading(self.source):
            processor = reader.from_pretrained(self.source, **options)
            network = loader.from_pretrained(self.source, dtype=self.dtype, **options).to(self.device).eval()
        model = LoadedModel(self.source, network, processor)
        tokenizer = model.tokenizer
        if not hasattr(tokenizer, "decode") or (sees_images and tokenizer is processor):
            raise ModelError(f"{self.source} has no processor with a tokenizer, so it cannot be asked. Name another.")
        tokenizer.padding_side = "left"  # what is generated follows the last token of every row
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        bound_tiles(processor, self.decoding.max_side)
        return model

    def _check_kind(self) -> bool:
        """Return whether the model can see images; refuse one that cannot answer what is asked."""
        from transformers.models.auto import modeling_auto as known

        if self._config is None:
            with _loading(self.source):
                self._config = self.transformers.AutoConfig.from_pretrained(self.source, trust_remote_code=False)
        kind = self._config.model_type
        sees = kind in known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        if not sees and (self.sees_images or kind not in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
            ability, such = "describe images", "vision-language model, such as SmolVLM, Qwen-VL or LLaVA"
            if not self.sees_images:
                ability, such = "answer questions", "chat model, such as SmolLM, Qwen or Llama"
            raise ModelError(f"{self.source} is a {kind} model, which cannot {ability}. Name a {such}.")
        return sees

    def _commit(self) -> str:
        return "" if self.folder else getattr(self._config, "_commit_hash", None) or ""


def like_batches(requests: Sequence[Request], batch_size: int) -> list[list[Request]]:
    """Return the requests in batches of `batch_size`, of like image size and text length, small ones first.

    Requests with and without an image never share a batch.
    """
    batches = []
    for _, alike in groupby(sorted(requests, key=_likeness), key=lambda request: request.image is not None):
        rows = list(alike)
        batches += [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    return batches


def _likeness(request: Request) -> tuple[bool, int, int]:
    """Order by image or none, then by area in steps of a factor of 1.4, then by length of the text."""
    if request.image is None:
        return False, 0, len(request.text)
    width, height = request.image.size
    return True, round(2 * math.log2(width * height)), len(request.text)


def bound_tiles(processor: Any, max_side: int) -> None:
    """Keep processors that cut images into tiles (Idefics3, SmolVLM) from enlarging images beyond `max_side` pixels.

    They enlarge every image, to 2048 pixels for SmolVLM, and so read a small one as 17 tiles at many times the cost.
    """
    image_processor = getattr(processor, "image_processor", None)
    tile = getattr(image_processor, "max_image_size", None)
    size = getattr(image_processor, "size", None)
    if image_processor is not None and tile and size and size.get("longest_edge"):
        longest = min(size["longest_edge"], max(max_side, tile["longest_edge"]))
        image_processor.size = {"longest_edge": longest}


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on any device: not all raise torch.OutOfMemoryError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)


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
    except (ImportError, OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
        remedy = "Name a model folder that is already here (--describer hf:/path/to/folder) or a running server"
        if is_out_of_memory(error):
            remedy = "Memory ran out: use --precision bf16, a smaller model, another --device, or a running server"
        raise cannot_load(source, error, f"{remedy} (--describer server:MODEL@URL).") from None
