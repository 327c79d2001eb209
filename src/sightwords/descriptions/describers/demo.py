"""`demo`: reads the description that `sightwords demo` wrote into each image when it drew it; no model is asked."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from PIL import Image

from sightwords.descriptions.describers.base import Answer, Describer, Request
from sightwords.descriptions.schema import DescriberInfo
from sightwords.images.decode import decode_image

TEXT_CHUNK = "sightwords:description"


class DemoDescriber(Describer):
    """Repeats the drawing's own record: a PNG text chunk with a JSON object, prompt name -> sentence."""

    def info(self) -> DescriberInfo:
        """Return who is asked: the drawing itself."""
        return DescriberInfo("demo", "the drawing's own record")

    def prepare(self, data: bytes, name: str) -> Mapping[str, Any] | None:
        """Return the sentences by prompt name that the image carries, None where it carries none."""
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
                yield Answer(request, "", "failed", "not drawn by `sightwords demo`: the demo describer knows no other")
            elif not isinstance(record.get(request.prompt_name), str):
                known = ", ".join(sorted(record))
                reason = f"the drawing has no description for the prompt {request.prompt_name} (it has: {known})"
                yield Answer(request, "", "failed", reason)
            else:
                yield Answer(request, record[request.prompt_name])
