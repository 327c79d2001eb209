"""Where a server is, with its secrets held apart from what may be stored, shown and logged."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from sightwords.errors import ConfigError

KEY_VARIABLES = ("SIGHTWORDS_API_KEY", "OPENAI_API_KEY")
MAX_SAID = 300  # characters of what a server said that are kept


@dataclass(frozen=True)
class Endpoint:
    """A server's address.

    Attributes:
        url: scheme, host, port and path; no user, password or query, so it may be shown.
        api_key: the API key, "none" where the environment has none.
        authorization: value of the header: the user and password of the URL where it has them, else the API key.
        query: the query of the URL, sent with every request.
        proxy: URL of the proxy that the environment names for this server.
    """

    url: str
    api_key: str = field(repr=False)
    authorization: str = field(repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str | None = field(default=None, repr=False)

    @cached_property
    def headers(self) -> dict[str, str]:
        """What every request carries; no compression, since answers are short and their length must be bounded."""
        return {"Authorization": self.authorization, "Accept": "application/json", "Accept-Encoding": "identity"}

    def address(self, path: str) -> str:
        """Return the whole URL of a path below the server's, query included: a secret."""
        return f"{self.url}{path}?{urlencode(self.query)}" if self.query else self.url + path

    def scrub(self, text: str) -> str:
        """Return `text` with every secret of this endpoint replaced by `***`."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def tell(self, text: str) -> str:
        """Return what a server or library said, without secrets, as one line; scrubbed first, so no cut halves one."""
        return " ".join(self.scrub(text).split())[:MAX_SAID]

    @cached_property
    def _secrets(self) -> list[str]:
        found = {secret for secret in self._all_secrets() if len(secret) >= 6}  # shorter ones are found in plain words
        return sorted(found, key=len, reverse=True)

    def _all_secrets(self) -> Iterator[str]:
        if self.api_key != "none":
            yield self.api_key
        kind, _, token = self.authorization.partition(" ")
        if kind == "Basic":
            pair = base64.b64decode(token).decode()
            yield from (token, pair, *_both_ways(pair.partition(":")[2]))
        for value in self.query.values():
            yield from _both_ways(value)
        if self.proxy:
            yield from _both_ways(unquote(urlsplit(self.proxy).password or ""))


def read_endpoint(url: str, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Return the endpoint of a URL; the API key comes from $SIGHTWORDS_API_KEY, else $OPENAI_API_KEY.

    Raises:
        ConfigError: the URL has no host, its port is no number, or the key cannot be sent.
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
    api_key = _api_key(environ)
    authorization = f"Bearer {api_key}"
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    shown = urlunsplit((parts.scheme, address, parts.path.rstrip("/"), "", ""))
    return Endpoint(shown, api_key, authorization, dict(parse_qsl(parts.query)), _proxy(parts.scheme, host))


def _api_key(environ: Mapping[str, str]) -> str:
    for name in KEY_VARIABLES:
        if key := environ.get(name, "").strip():
            if not key.isascii() or not key.isprintable():
                raise ConfigError(f"The API key in ${name} has characters that no HTTP header can hold. Copy it anew.")
            return key
    return "none"


def _proxy(scheme: str, host: str) -> str | None:
    """Return the proxy of $http_proxy or $https_proxy, None where $no_proxy excludes the host."""
    proxy = getproxies().get(scheme)
    return proxy if proxy and proxy.startswith("http") and not proxy_bypass(host) else None


def _both_ways(secret: str) -> tuple[str, str]:
    """Return a secret as it is and as it stands in a URL."""
    return secret, quote(secret, safe="")
