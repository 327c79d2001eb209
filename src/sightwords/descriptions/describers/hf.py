"""`hf:NAME_OR_FOLDER`: any image-text-to-text model of transformers, run here; about classes, any causal one too."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from sightwords.descriptions.describers.base import Answer, Decoding, Request, decode_within
from sightwords.descriptions.describers.hf_engine import (
    WINDOW,
    LocalEngine,
    is_out_of_memory,
    pick_device,
    pick_dtype,
)
from sightwords.descriptions.describers.hf_generation import LoadedModel, bound_tiles, tokenizer_of
from sightwords.descriptions.schema import DescriberInfo
from sightwords.errors import MissingExtraError, ModelError

_SMALL = 32 * 2**20
_BLOCK = 64 * 2**10
_NUM_BLOCKS = 64
# what is no part of the model: notes, and what tools leave behind
_IGNORED_SUFFIXES = {".md", ".lock", ".png", ".jpg", ".onnx"}


def folder_revision(folder: Path) -> str:
    """Return a hash of the model files directly in `folder`, 16 hex digits.

    Small files (configuration, tokenizer, chat template, index of the weights) count whole. Of large ones (the
    weights) the size and 64 blocks spread evenly over the file count: another training run changes every block, and
    reading 100 GB to name a model would take minutes.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith(".") and file.suffix.lower() not in _IGNORED_SUFFIXES:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            _update(digest, file)
    return digest.hexdigest()[:16]


def _update(digest: hashlib._Hash, file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= _SMALL:
            digest.update(stream.read())
            return
        for i in range(_NUM_BLOCKS):
            stream.seek((size - _BLOCK) * i // (_NUM_BLOCKS - 1), os.SEEK_SET)
            digest.update(stream.read(_BLOCK))


# what allocators say that do not raise torch.OutOfMemoryError: those of the CPU and MPS, cuBLAS, and CUDA's own calls


class HFDescriber:
    """Describes with a model of transformers in this process.

    Args:
        source: name on the Hugging Face hub, or a folder.
        decoding: how answers are drawn.
        batch_size: images at once; halved where memory runs out.
        device: `auto`, or a torch device.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        sees_images: False where no request has a picture, so that a text-only model will do.

    Raises:
        MissingExtraError: transformers is not installed.
        ConfigError: the device is not there.
        ModelError: the folder does not exist.
    """

    def __init__(
        self,
        source: str,
        decoding: Decoding,
        batch_size: int = 8,
        device: str = "auto",
        precision: str = "auto",
        sees_images: bool = True,
    ) -> None:
        self.transformers = _transformers()
        self.folder = _folder(source)
        self.source = str(self.folder) if self.folder else source
        self.decoding = decoding
        self.device = pick_device(device)
        self.dtype = pick_dtype(precision, self.device)
        self.sees_images = sees_images
        self.num_ahead = 2 * WINDOW * batch_size
        self.engine = LocalEngine(lambda: self.load(), decoding, batch_size, encodes_ahead=self.device.type != "cpu")
        self.notices = self.engine.notices
        self._config: Any = None

    def info(self) -> DescriberInfo:
        """Return the model's name and revision: the commit of a hub model, a hash of the contents of a folder.

        A folder is named by its last part alone, so that the set can be shared and the folder moved.

        Raises:
            ModelError: the model cannot be found, or is of a kind that cannot answer what is asked.
        """
        self._check_kind()
        name = self.folder.name if self.folder else self.source
        revision = folder_revision(self.folder) if self.folder else self._commit()
        return DescriberInfo(f"hf:{name}", name, revision, self.decoding.parameters())

    def prepare(self, data: bytes, name: str) -> Image.Image:
        """Return the picture, upright RGB, within the largest side.

        Raises:
            UnreadableImageError: the bytes cannot be turned into pixels.
        """
        return decode_within(data, name, self.decoding.max_side)

    def describe(self, requests: Iterable[Request], stopping: Callable[[], bool]) -> Generator[Answer]:
        """Yield the answers batch by batch; the model is loaded at the first request and stays.

        Raises:
            ModelError: the model cannot be loaded or asked.
        """
        return self.engine.answers(requests, stopping)

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
        with _loading(self.source), _without_bars(library):
            processor = reader.from_pretrained(self.source, **options)
            network = loader.from_pretrained(self.source, dtype=self.dtype, **options).to(self.device).eval()
        tokenizer = tokenizer_of(processor)
        if not hasattr(tokenizer, "decode") or (sees_images and tokenizer is processor):
            raise ModelError(f"{self.source} has no processor with a tokenizer, so it cannot be asked. Name another.")
        tokenizer.padding_side = "left"  # what is generated follows the last token of every row
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        bound_tiles(processor, self.decoding.max_side)
        return LoadedModel(self.source, network, processor, self.device, self.dtype)

    def _check_kind(self) -> bool:
        """Return whether the model can see images; its configuration is read once.

        Raises:
            ModelError: the model cannot be found, or is of a kind that cannot answer what is asked.
        """
        if self._config is None:
            with _loading(self.source):
                self._config = self.transformers.AutoConfig.from_pretrained(self.source, trust_remote_code=False)
        kind = self._config.model_type
        image_text, causal = _known_kinds()
        if kind in image_text:
            return True
        if self.sees_images:
            raise ModelError(
                f"{self.source} is a {kind} model, which transformers does not list as image-text-to-text (it cannot "
                "describe images). Name a vision-language model, such as SmolVLM, Qwen-VL or LLaVA."
            )
        if kind not in causal:
            raise ModelError(
                f"{self.source} is a {kind} model, which transformers lists neither as image-text-to-text nor as "
                "causal (it cannot answer questions). Name a chat model, such as SmolLM, Qwen or Llama."
            )
        return False

    def _commit(self) -> str:
        return "" if self.folder else getattr(self._config, "_commit_hash", None) or ""


def _known_kinds() -> tuple[set[str], set[str]]:
    """Return the model types that see images and answer, and those that only answer."""
    from transformers.models.auto import modeling_auto as known

    return set(known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES), set(known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "describe") from None
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
def _without_bars(transformers: Any) -> Iterator[None]:
    """Hide transformers' own progress bars, which would break ours; those of downloads stay, for they take long."""
    set_hook = getattr(transformers.utils.logging, "set_tqdm_hook", None)  # not in the first releases of version 5
    if set_hook is None:
        yield
        return
    former = set_hook(lambda bar, args, options: bar(*args, **{**options, "disable": True}))
    try:
        yield
    finally:
        set_hook(former)


@contextmanager
def _loading(source: str) -> Iterator[None]:
    """Turn what transformers raises while loading into a ModelError that says what to do."""
    try:
        yield
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{source} needs a library that is not installed: {reason}") from None
    except (OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:400].rstrip(".") or type(error).__name__
        remedy = "Point to a model folder that is already here (--describer hf:/path/to/folder) or to a running server "
        if is_out_of_memory(error):
            remedy = "Memory ran out: use --precision bf16, a smaller model, another --device, or a running server "
        raise ModelError(f"Cannot load {source}: {reason}. {remedy}(--describer server:MODEL@URL).") from None
