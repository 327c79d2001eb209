"""What every describer is: something that is shown an image, is asked a question and answers in words."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from sightwords.artefacts.description_set import DescriberInfo, Status
from sightwords.data.decode import decode_image


@dataclass(frozen=True)
class Request:
    """One question about one image.

    Attributes:
        key: key of the image.
        sample: 0 asks for the most probable answer, 1 and above for sampled ones.
        name: the image's name as the user knows it.
        prompt_name: name of the prompt.
        text: what is asked, the class name filled in.
        picture: what the describer's own `prepare` made of the image's bytes.
    """

    key: str
    sample: int
    name: str
    prompt_name: str
    text: str
    picture: Any


@dataclass(frozen=True)
class Answer:
    """What came back for a request; the attributes are those of a `Description`."""

    request: Request
    text: str
    status: Status = "ok"
    reason: str = ""
    num_prompt_tokens: int | None = None
    num_text_tokens: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Decoding:
    """How answers are drawn.

    Attributes:
        max_new_tokens: longest answer, in tokens.
        max_side: longest side of the image that the describer sees, in pixels.
        temperature: temperature of samples 1 and above; sample 0 is greedy.
        seed: seed of samples 1 and above.
    """

    max_new_tokens: int = 128
    max_side: int = 512
    temperature: float = 0.7
    seed: int = 0

    def parameters(self) -> dict[str, Any]:
        """Return what is stored with the answers.

        Batch size, concurrency, device and precision are left out on purpose: a set that was begun on one machine goes
        on elsewhere without asking anything twice.
        """
        return {
            "max_new_tokens": self.max_new_tokens,
            "max_side": self.max_side,
            "temperature": self.temperature,
            "seed": self.seed,
        }

    def temperature_of(self, request: Request) -> float:
        """Return the temperature of a request, 0 for greedy."""
        return self.temperature if request.sample else 0.0

    def seed_of(self, request: Request) -> int:
        """Return the 31-bit seed of a request, a function of (seed, key, sample) alone."""
        from sightwords.data.randomness import derive_seed  # here: it brings torch, which no server needs

        return derive_seed("describe", self.seed, request.key, request.sample) & 0x7FFFFFFF


class Describer(Protocol):
    """Answers requests.

    Attributes:
        num_ahead: number of prepared requests that it likes to have waiting.
    """

    num_ahead: int

    def info(self) -> DescriberInfo:
        """Return who is asked; cheap, and possible before anything large is loaded.

        Raises:
            ModelError: the model cannot be had.
        """
        ...

    def prepare(self, data: bytes, name: str) -> Any:
        """Return what `Request.picture` holds for an image file's bytes; called in several threads at once.

        Raises:
            UnreadableImageError: the bytes cannot be turned into pixels.
        """
        ...

    def describe(self, requests: Iterable[Request]) -> Generator[Answer]:
        """Yield one answer for every request, as they arrive, in any order; take no more requests than are needed.

        Raises:
            UnavailableError: the describer cannot be reached or used; all answers that had arrived were yielded.
            ModelError: the model cannot be loaded or run.
        """
        ...


def answered(
    request: Request,
    text: str,
    num_prompt_tokens: int | None,
    num_text_tokens: int | None,
    seconds: float,
    cut_at: int | None = None,
) -> Answer:
    """Return the answer for a text that came back; an empty one is rejected.

    Args:
        request: what was asked.
        text: what came back.
        num_prompt_tokens: tokens sent, where known.
        num_text_tokens: tokens that came back, where known.
        seconds: time that it took.
        cut_at: the token limit where it ended the answer; None where the answer ended by itself.
    """
    text = text.strip()
    reason = f"cut at {cut_at} tokens" if cut_at is not None else ""
    if not text:
        return Answer(request, "", "rejected", "empty", num_prompt_tokens, num_text_tokens, seconds)
    return Answer(request, text, "ok", reason, num_prompt_tokens, num_text_tokens, seconds)


def decode_within(data: bytes, name: str, max_side: int) -> Image.Image:
    """Return an image file's picture, scaled down where its longest side is above `max_side` pixels.

    Raises:
        UnreadableImageError: the bytes cannot be turned into pixels.
    """
    image = decode_image(data, name)
    longest = max(image.size)
    if longest <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
