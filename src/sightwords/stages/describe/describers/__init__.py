"""The describers, and how one is found by its ID."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightwords.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from sightwords.stages.describe.config import DescribeConfig
    from sightwords.stages.describe.describers.base import Describer

KNOWN = ("hf:NAME_OR_FOLDER", "server:MODEL@URL", "demo")


def make_describer(config: DescribeConfig) -> Describer:
    """Return the describer that a configuration names; nothing large is loaded yet.

    Raises:
        UnknownNameError: the ID is of no known kind.
        ConfigError: the ID lacks a part, or an option does not fit the describer.
        MissingExtraError: the describer's library is not installed.
    """
    from sightwords.stages.describe.describers.base import Decoding

    kind, _, rest = config.describer.partition(":")
    decoding = Decoding(config.max_new_tokens, config.max_side, config.temperature, config.seed)
    if kind == "demo" and not rest:
        from sightwords.stages.describe.describers.demo import DemoDescriber

        if config.samples > 1:
            raise ConfigError("The demo describer has one description of an image; use --samples 1.")
        return DemoDescriber()
    if kind == "hf" and rest:
        from sightwords.stages.describe.describers.hf import HFDescriber

        return HFDescriber(rest, decoding, config.batch_size, config.device, config.precision)
    if kind == "server" and rest:
        from sightwords.stages.describe.describers.server import ServerDescriber

        model, url = split_server(rest)
        return ServerDescriber(model, url, decoding, config.concurrency, config.timeout_s)
    shown = config.describer.partition("@")[0]  # what follows may hold a password
    hint = f"Describers are written {', '.join(KNOWN[:-1])} or {KNOWN[-1]}."
    raise UnknownNameError("describer", shown, KNOWN, hint)


def split_server(rest: str) -> tuple[str, str]:
    """Return (model, URL) of `MODEL@URL`.

    Raises:
        ConfigError: there is no model or no URL.
    """
    for scheme in ("@http://", "@https://"):
        model, found, tail = rest.partition(scheme)
        if model and found and tail:
            return model, scheme[1:] + tail
    raise ConfigError(
        "A server describer is written server:MODEL@URL with a URL that begins with http:// or https://, for example "
        "server:qwen2.5vl@http://localhost:11434/v1."
    )
