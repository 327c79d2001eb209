"""The describers, and how one is found by its ID."""

from __future__ import annotations

import importlib
import re
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from sightwords.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from sightwords.descriptions.config import DescribeConfig
    from sightwords.descriptions.describers.base import Describer

KEY_VARIABLES = ("SIGHTWORDS_API_KEY", "OPENAI_API_KEY")  # where a server's API key is looked for, in this order
# How a describer is written -> what makes it (see `Describer.__init__`). Yours is one file and one line here.
DESCRIBERS = {
    "hf:NAME_OR_FOLDER": "sightwords.descriptions.describers.hf:HFDescriber.make",
    "server:MODEL@URL[,URL...]": "sightwords.descriptions.describers:make_server_describer",
    "class_name": "sightwords.descriptions.describers.class_name:ClassNameDescriber",
    "demo": "sightwords.descriptions.describers.demo:DemoDescriber",
}


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
    if config.engine == "ray":
        from sightwords.descriptions.describers.cluster import RayDescriber

        return RayDescriber(config, sees_images)
    kind, _, rest = config.describer.partition(":")
    for written, function in DESCRIBERS.items():
        if kind == written.partition(":")[0] and bool(rest) == (":" in written):
            module, _, name = function.partition(":")
            make = attrgetter(name)(importlib.import_module(module))
            return cast("Describer", make(rest, config, sees_images))
    shown = config.describer.partition("@")[0]  # what follows may hold a password
    hint = f"Describers are written {', '.join(list(DESCRIBERS)[:-1])} or {list(DESCRIBERS)[-1]}."
    raise UnknownNameError("describer", shown, DESCRIBERS, hint)


def make_server_describer(rest: str, config: DescribeConfig, sees_images: bool) -> Describer:
    """Return the describer behind `server:`."""
    from sightwords.descriptions.describers.base import Decoding
    from sightwords.descriptions.describers.server import ServerDescriber

    model, urls = split_server(rest)
    decoding = Decoding.of(config)
    return ServerDescriber(model, urls, decoding, config.concurrency, config.timeout_s, config.patience_s)


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
