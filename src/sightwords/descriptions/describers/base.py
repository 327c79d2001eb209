"""What every describer is: something that is shown an image, is asked a question and answers in words."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sightwords.descriptions.schema import DescriberInfo, Status
from sightwords.images.seeds import derive_seed

if TYPE_CHECKING:
    from sightwords.descriptions.config import DescribeConfig


@dataclass(frozen=True)
class Request:
    """One question, about one image or (without an image) about one class.

    Attributes:
        key: key of the image; of a class, a name that no image's key can have.
        sample: 0 asks for the most probable answer, 1 and above for sampled ones.
        attempt: 0 at first; 1 and above where earlier answers were rejected, which draws other random numbers.
        name: the image's name as the user knows it.
        class_name: the readable name of its class, empty where it has none.
        text: what is asked, the class name filled in.
        image: what the describer's own `prepare` made of the image's bytes; None where no image is shown.
    """

    key: str
    sample: int
    attempt: int
    name: str
    class_name: str
    text: str
    image: Any


@dataclass(frozen=True)
class Answer:
    """What came back for a request, as it came; the filter is not the describer's.

    Attributes:
        request: what was asked.
        text: what came back, empty where nothing did.
        status: `ok`, `rejected` (refused for good), or `failed` (no answer came; the next run asks again).
        reason: why it is not `ok`.
        cut_at: the token limit where it ended the answer; None where the answer ended by itself.
        num_prompt_tokens: tokens sent, where known.
        num_text_tokens: tokens that came back, where known.
        seconds: time that it took; of a batch, its part.
    """

    request: Request
    text: str
    status: Status = "ok"
    reason: str = ""
    cut_at: int | None = None
    num_prompt_tokens: int | None = None
    num_text_tokens: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Decoding:
    """How answers are drawn; stored with them, so it holds nothing that depends on the machine.

    Attributes:
        max_new_tokens: longest answer, in tokens.
        max_side: longest side of the image that the describer sees, in pixels.
        temperature: temperature of every answer but the first attempt at sample 0, which is greedy.
        seed: seed of the sampled answers.
    """

    max_new_tokens: int = 256
    max_side: int = 512
    temperature: float = 0.7
    seed: int = 0

    @staticmethod
    def of(config: DescribeConfig) -> Decoding:
        """Return what a configuration says."""
        return Decoding(config.max_new_tokens, config.max_side, config.temperature, config.seed)

    def temperature_of(self, request: Request) -> float:
        """Return the temperature of a request, 0 for greedy."""
        return self.temperature if request.sample or request.attempt else 0.0

    def seed_of(self, request: Request) -> int:
        """Return the 31-bit seed of a request, a function of (seed, key, sample, attempt) alone."""
        return derive_seed("describe", self.seed, request.key, request.sample, request.attempt) & 0x7FFFFFFF


class Describer(Protocol):
    """Answers requests.

    Attributes:
        num_ahead: number of prepared requests that it likes to have waiting.
        notices: what the user should know (a server left out, a smaller batch), oldest first; the run takes them.
    """

    num_ahead: int = 64
    notices: list[str]

    def __init__(self, name: str, config: DescribeConfig, sees_images: bool) -> None:
        """Make the describer that stands as `name` behind the colon of `--describer`; nothing large is loaded yet.

        Without `sees_images` no request has an image, so that a text-only model will do.
        """
        self.notices = []

    def info(self) -> DescriberInfo:
        """Return who is asked; cheap. Raises ModelError where the model cannot be had."""
        ...

    def prepare(self, data: bytes, name: str) -> Any:
        """Return what `Request.image` holds for an image file's bytes; called in several threads at once.

        Raises:
            UnreadableImageError: the bytes cannot be turned into pixels.
        """
        return None

    def describe(self, requests: Iterable[Request], stopping: Callable[[], bool]) -> Generator[Answer]:
        """Yield one answer for every request, as they arrive, in any order; take no more requests than are needed.

        May be called again after it has ended (a model stays loaded).

        Args:
            requests: what to ask; ends early when the run is to stop.
            stopping: True once the run is to stop: what is being answered is finished, other requests are dropped (the
                next run asks them).

        Raises:
            UnavailableError: the describer cannot be reached or used; all answers that had arrived were yielded.
            ModelError: the model cannot be loaded or run.
        """
        ...
