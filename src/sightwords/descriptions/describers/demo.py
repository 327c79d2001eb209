"""`demo`: reads the description that `sightwords demo` wrote into each picture when it drew it; no model is asked."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image

from sightwords.descriptions.describers.base import Answer, Request
from sightwords.descriptions.schema import DescriberInfo
from sightwords.errors import ConfigError
from sightwords.images.decode import decode_image

if TYPE_CHECKING:
    from sightwords.descriptions.config import DescribeConfig

TEXT_CHUNK = "sightwords:description"


def make_describer(name: str, config: DescribeConfig, sees_images: bool) -> DemoDescriber:
    """Return the describer of a configuration.

    Raises:
        ConfigError: several descriptions of an image are wanted.
    """
    if config.samples > 1:
        raise ConfigError("The demo describer has one description of an image; use --samples 1.")
    return DemoDescriber()


class DemoDescriber:
    """Repeats the drawing's own record: a PNG text chunk with a JSON object, prompt name -> sentence."""

    def __init__(self) -> None:
        self.num_ahead = 64
        self.notices: list[str] = []

    def info(self) -> DescriberInfo:
        """Return who is asked: the drawing itself."""
        return DescriberInfo("demo", "the drawing's own record")

    def prepare(self, data: bytes, name: str) -> Mapping[str, Any] | None:
        """Return the sentences by prompt name that the picture carries, None where it carries none."""
        decode_image(data, name)
        with Image.open(io.BytesIO(data)) as image:
            chunk = getattr(image, "text", {}).get(TEXT_CHUNK)
        try:
            record = json.loads(chunk) if chunk else None
        except json.JSONDecodeError:
            return None
        return record if isinstance(record, dict) else None

    def describe(self, requests: Iterable[Request], stopping: Callable[[], bool]) -> Generator[Answer]:
        """Yield the sentence of each request's prompt, or the reason why there is none."""
        for request in requests:
            record = request.picture
            if record is None:
                reason = "not drawn by `sightwords demo`, the only pictures that the demo describer knows"
                yield Answer(request, "", "failed", reason)
            elif not isinstance(record.get(request.prompt_name), str):
                known = ", ".join(sorted(record))
                reason = f"the drawing has no description for the prompt {request.prompt_name} (it has: {known})"
                yield Answer(request, "", "failed", reason)
            else:
                yield Answer(request, record[request.prompt_name])
