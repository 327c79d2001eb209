"""Where a server is, with its secrets held apart from what may be stored, shown and logged."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from sightwords.errors import ConfigError

KEY_VARIABLES = ("SIGHTWORDS_API_KEY", "OPENAI_API_KEY")


@dataclass(frozen=True)
class Endpoint:
    """A server's address.

    Attributes:
        url: scheme, host, port and path; no user, password or query, so it may be shown.
        api_key: the API key, "none" where the environment has none.
        headers: further headers (the user and password of the URL, as basic authorization).
        query: the query of the URL, sent with every request.
    """

    url: str
    api_key: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)

    def scrub(self, text: str) -> str:
        """Return `text` with every secret of this endpoint replaced by `***`."""
        secrets = [self.api_key if self.api_key != "none" else "", *self.query.values()]
        for header in self.headers.values():
            token = header.removeprefix("Basic ")
            user, _, password = base64.b64decode(token).decode().partition(":")
            secrets += [token, f"{user}:{password}", password]
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= 6:  # shorter ones are found in ordinary words
                text = text.replace(secret, "***")
        return text


def read_endpoint(url: str, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Return the endpoint of a URL; the API key comes from $SIGHTWORDS_API_KEY, else $OPENAI_API_KEY.

    Raises:
        ConfigError: the URL has no host, or its port is no number.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigError("The server's URL has no valid host and port. Write it as http://HOST:PORT/v1.")
    address = f"[{host}]" if ":" in host else host
    address += f":{port}" if port is not None else ""
    headers = {}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    api_key = next((environ[name] for name in KEY_VARIABLES if environ.get(name)), "none")
    shown = urlunsplit((parts.scheme, address, parts.path.rstrip("/"), "", ""))
    return Endpoint(shown, api_key, headers, dict(parse_qsl(parts.query)))
