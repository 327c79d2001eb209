"""The OpenAI chat-completions protocol as far as a describer needs it: what is sent, and what comes back means.

vLLM, SGLang, Ollama, llama.cpp, `transformers serve` and the clouds speak it with small differences, all of which are
handled here. Nothing here does any input or output.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from sightwords.descriptions.describers.base import Decoding, Request

CHAT_PATH, MODELS_PATH = "/chat/completions", "/models"
_UNSUPPORTED = re.compile(
    r"unsupported|(not|n't) support|unrecogni[sz]ed|unknown|unexpected|not (permitted|allowed)|forbidden", re.IGNORECASE
)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer.

    Attributes:
        status: the HTTP status.
        headers: names of any case.
        body: bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Completion:
    """What a model said.

    Attributes:
        text: as it came, empty where nothing came.
        is_cut: whether the token limit ended it.
        num_prompt_tokens: tokens of prompt and image, where the server tells.
        num_text_tokens: tokens of the answer, where the server tells.
    """

    text: str
    is_cut: bool
    num_prompt_tokens: int | None
    num_text_tokens: int | None


class ChatError(Exception):
    """Base of what a server's answer can mean other than a text; its message is in the server's own words."""


class RefusedError(ChatError):
    """The server will not answer this request, whenever it is asked."""


class NotServedError(ChatError):
    """The server will not answer anything for us: wrong key, unknown model, wrong address.

    Args:
        words: the server's own.
        status: the HTTP status.
    """

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


class OverloadedError(ChatError):
    """The server is fine and wants fewer requests, or a pause.

    Args:
        words: the server's own.
        wait_s: how long it asks to wait, in seconds; None where it does not say.
    """

    def __init__(self, words: str, wait_s: float | None = None) -> None:
        super().__init__(words)
        self.wait_s = wait_s


class FaultError(ChatError):
    """The request got no usable answer this time: asking again may help."""


class NoAnswerError(FaultError):
    """The server failed (status 5xx), the connection broke, or no answer came in time: signs of too much work."""


class UnreachableError(ChatError):
    """Nobody listens at the address."""


@dataclass(frozen=True)
class Dialect:
    """Which parameters a server takes.

    Attributes:
        length_name: what it calls the longest answer; OpenAI's newer models refuse `max_tokens`.
        has_temperature: whether a temperature may be sent; reasoning models have one fixed temperature.
        has_seed: whether a seed may be sent.
    """

    length_name: str = "max_tokens"
    has_temperature: bool = True
    has_seed: bool = True

    def body(self, model: str, request: Request, decoding: Decoding) -> bytes:
        """Return the JSON to send. The picture is spliced in, so that no encoder walks over its many characters."""
        parameters: dict[str, Any] = {"model": model, self.length_name: decoding.max_new_tokens}
        if self.has_temperature:
            parameters["temperature"] = decoding.temperature_of(request)
        if self.has_seed:
            parameters["seed"] = decoding.seed_of(request)
        head, text = json.dumps(parameters)[:-1], json.dumps(request.text)
        if request.picture is None:
            return f'{head}, "messages": [{{"role": "user", "content": {text}}}]}}'.encode()
        head += ', "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "'
        tail = f'"}}}}, {{"type": "text", "text": {text}}}]}}]}}'
        return b"".join((head.encode(), *request.picture, tail.encode()))

    def adapted(self, reply: Reply) -> Dialect | None:
        """Return the dialect without the parameter that a refusal names as unsupported, None where it names none.

        OpenAI names it in `param` and in its words, FastAPI in the `loc` of a detail, others in their words alone.
        """
        if reply.status not in (400, 422) or not _UNSUPPORTED.search(words := _decoded(reply.body)[:5000]):
            return None
        if self.length_name == "max_tokens" and re.search(r"\bmax_tokens\b", words):
            return replace(self, length_name="max_completion_tokens")
        if self.has_seed and re.search(r"\bseed\b", words):
            return replace(self, has_seed=False)
        if self.has_temperature and re.search(r"\btemperature\b", words):
            return replace(self, has_temperature=False)
        return None

    def change_to(self, other: Dialect) -> str:
        """Return in words what another dialect does otherwise."""
        if other.length_name != self.length_name:
            return f"it wants {other.length_name} instead of {self.length_name}"
        if other.has_seed != self.has_seed:
            return "it takes no seed, so sampled answers will differ from run to run"
        return "it takes no temperature, so its own holds for all answers, those meant to be greedy included"


def read_completion(reply: Reply) -> Completion:
    """Return what the model said.

    Raises:
        RefusedError: not this request, ever.
        NotServedError: not us.
        OverloadedError: not now.
        NoAnswerError: the server failed.
        FaultError: the answer cannot be understood.
    """
    if reply.status != 200:
        raise _error(reply.status, reply)
    try:
        told = json.loads(reply.body)
    except ValueError:
        raise FaultError("the server's answer cannot be understood (it is no JSON)") from None
    if isinstance(told, dict) and told.get("error") and not told.get("choices"):  # some send errors with status 200
        code = told["error"].get("code") if isinstance(told["error"], dict) else None
        raise _error(code if isinstance(code, int) else 500, reply)
    try:
        choice = told["choices"][0]
        text, is_cut = _text(choice["message"]), choice.get("finish_reason") == "length"
    except (AttributeError, KeyError, IndexError, TypeError):
        raise FaultError("the server's answer cannot be understood (no choices in it)") from None
    if text is None:
        raise FaultError("the server's answer cannot be understood (its content is no text)")
    return Completion(text, is_cut, _count(told, "prompt_tokens"), _count(told, "completion_tokens"))


def model_names(reply: Reply) -> list[str]:
    """Return the models that a server lists, none where its answer is no such list."""
    try:
        return [str(model["id"]) for model in json.loads(reply.body)["data"]]
    except (ValueError, KeyError, TypeError):
        return []


def said_by(status: int, body: bytes) -> str:
    """Return an HTTP error's status and the server's own words: `400: the image is too large`.

    Servers word errors as OpenAI does ({"error": {"message"}}), as FastAPI does ({"detail"}), flat ({"message"}), or
    as plain text.
    """
    text = _decoded(body)
    try:
        words = json.loads(text)
    except ValueError:
        words = text
    for field in ("error", "detail", "message"):
        if isinstance(words, dict) and words.get(field):
            words = words[field]
    shown = words if isinstance(words, str) and words else text
    return f"{status}: {shown.strip() or 'no reason given'}"


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return how long a server asks to wait, in seconds, None where it does not say or says nonsense.

    Retry-After holds seconds or a date (RFC 9110, section 10.2.3); retry-after-ms is OpenAI's finer one.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait_s = float(lowered[name]) * unit_s
        except (KeyError, ValueError):
            continue
        return wait_s if math.isfinite(wait_s) and wait_s >= 0 else None
    try:
        until = parsedate_to_datetime(lowered["retry-after"])
    except (KeyError, ValueError, TypeError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())


def _error(status: int, reply: Reply) -> ChatError:
    words = said_by(status, reply.body)
    if 300 <= status < 400:
        location = reply.headers.get("Location", "elsewhere")
        return NotServedError(f"{status}: it sends us on to {location}; name that address", status)
    if status in (401, 402, 403, 404):
        return NotServedError(words, status)
    wait_s = retry_after_s(reply.headers)
    if status == 429 or (status == 503 and wait_s is not None):
        return OverloadedError(words, wait_s)
    if 400 <= status < 500 and status not in (408, 409, 425):
        return RefusedError(words)
    return NoAnswerError(f"the server failed: {words}")


def _text(message: Mapping[str, Any]) -> str | None:
    """Return a message's text: a string, parts of it, or OpenAI's own field for what a model declines to say."""
    content = message.get("content")
    if content is None:
        content = message.get("refusal") or ""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    return content if isinstance(content, str) else None


def _count(told: Mapping[str, Any], name: str) -> int | None:
    usage = told.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) else None


def _decoded(body: bytes) -> str:
    return body.decode("utf-8", "replace")
