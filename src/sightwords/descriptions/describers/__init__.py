"""The describers, and how one is found by its ID."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sightwords.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from sightwords.descriptions.config import DescribeConfig
    from sightwords.descriptions.describers.base import Describer

KNOWN = ("hf:NAME_OR_FOLDER", "server:MODEL@URL[,URL...]", "class_name", "demo")


def make_describer(config: DescribeConfig, sees_images: bool = True) -> Describer:
    """Return the describer that a configuration names; nothing large is loaded yet.

    Args:
        config: which describer.
        sees_images: whether it is shown images; without, a text-only model will do.

    Raises:
        UnknownNameError: the ID is of no known kind.
        ConfigError: the ID lacks a part, or an option does not fit the describer.
        MissingExtraError: the describer's library is not installed.
    """
    from sightwords.descriptions.describers.base import Decoding

    if config.engine == "ray":
        from sightwords.descriptions.describers.cluster import RayDescriber

        return RayDescriber(config, sees_images)
    kind, _, rest = config.describer.partition(":")
    decoding = Decoding(config.max_new_tokens, config.max_side, config.temperature, config.seed)
    if kind == "demo" and not rest:
        from sightwords.descriptions.describers.demo import DemoDescriber

        if config.samples > 1:
            raise ConfigError("The demo describer has one description of an image; use --samples 1.")
        return DemoDescriber()
    if kind == "class_name" and not rest:
        from sightwords.descriptions.describers.class_name import ClassNameDescriber

        if config.samples > 1:
            raise ConfigError("A class has one name; use --samples 1.")
        return ClassNameDescriber()
    if kind == "hf" and rest:
        from sightwords.descriptions.describers.hf import HFDescriber

        return HFDescriber(rest, decoding, config.batch_size, config.device, config.precision, sees_images)
    if kind == "server" and rest:
        from sightwords.descriptions.describers.server.describer import ServerDescriber

        model, urls = split_server(rest)
        return ServerDescriber(model, urls, decoding, config.concurrency, config.timeout_s, config.patience_s)
    shown = config.describer.partition("@")[0]  # what follows may hold a password
    hint = f"Describers are written {', '.join(KNOWN[:-1])} or {KNOWN[-1]}."
    raise UnknownNameError("describer", shown, KNOWN, hint)


def split_server(rest: str) -> tuple[str, list[str]]:
    """Return the model and the URLs of `MODEL@URL[,URL...]`.

    Raises:
        ConfigError: there is no model or no URL, or one that does not begin with http:// or https://.
    """
    model, *tail = re.split("@(?=https?://)", rest, maxsplit=1)
    urls = re.split(",(?=https?://)", tail[0]) if tail else []
    # a comma is left where what follows it is no URL; behind a question mark it belongs to a key
    if model and urls and not any("," in url.partition("?")[0] or url.endswith("://") for url in urls):
        return model, urls
    raise ConfigError(
        "A server describer is written server:MODEL@URL or server:MODEL@URL,URL with URLs that begin with http:// or "
        "https://, for example server:qwen2.5vl@http://localhost:11434/v1."
    )
