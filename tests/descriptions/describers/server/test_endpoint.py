from __future__ import annotations

import base64

import pytest

from sightwords.descriptions.describers.server.endpoint import read_endpoint
from sightwords.errors import ConfigError


def test_secrets_of_the_url_are_held_apart():
    endpoint = read_endpoint("https://ann:p%40ssword@host.org:8443/v1/?key=querysecret", {})
    assert endpoint.url == "https://host.org:8443/v1"
    assert endpoint.query == {"key": "querysecret"}
    assert endpoint.address("/models") == "https://host.org:8443/v1/models?key=querysecret"
    assert base64.b64decode(endpoint.headers["Authorization"].removeprefix("Basic ")) == b"ann:p@ssword"
    assert not [secret for secret in ("p@ssword", "querysecret", "Basic") if secret in repr(endpoint)]


def test_the_key_comes_from_the_environment_in_order():
    both = {"SIGHTWORDS_API_KEY": "first-key", "OPENAI_API_KEY": "second-key"}
    assert read_endpoint("http://h/v1", both).api_key == "first-key"
    assert read_endpoint("http://h/v1", {"OPENAI_API_KEY": "second-key"}).api_key == "second-key"
    assert read_endpoint("http://h/v1", {}).api_key == "none"
    endpoint = read_endpoint("http://h/v1", both)
    assert endpoint.headers["Authorization"] == "Bearer first-key"
    assert "first-key" not in repr(endpoint)
    assert read_endpoint("http://h/v1", {"OPENAI_API_KEY": " with-newline\n"}).api_key == "with-newline"


def test_a_key_that_no_header_can_hold_is_refused_without_repeating_it():
    with pytest.raises(ConfigError, match=r"\$OPENAI_API_KEY has characters") as caught:
        read_endpoint("http://h/v1", {"OPENAI_API_KEY": "sk-secret\nX: y"})
    assert "sk-secret" not in str(caught.value)


def test_scrub_removes_every_secret_and_nothing_else():
    endpoint = read_endpoint("https://ann:password1@h/v1?key=querysecret", {"OPENAI_API_KEY": "sk-12345678"})
    token = endpoint.headers["Authorization"].removeprefix("Basic ")
    said = endpoint.scrub(f"bad key sk-12345678, {token}, password1, querysecret: a bird")
    assert said == "bad key ***, ***, ***, ***: a bird"
    assert read_endpoint("http://h/v1", {}).scrub("none of it") == "none of it"


def test_secrets_are_found_as_they_stand_in_urls_too(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://me:proxy%2Fpass@proxy:3128")
    endpoint = read_endpoint("http://ann:pass%2Fword@h/v1?key=query%2Fsecret", {})
    assert endpoint.proxy == "http://me:proxy%2Fpass@proxy:3128"
    said = endpoint.scrub("query%2Fsecret query/secret pass%2Fword pass/word proxy%2Fpass proxy/pass")
    assert said == "*** *** *** *** *** ***"
    assert "proxy%2Fpass" not in repr(endpoint)


def test_what_is_told_is_one_short_line():
    endpoint = read_endpoint("http://h/v1", {"OPENAI_API_KEY": "sk-12345678"})
    assert endpoint.tell("a\n  b sk-12345678") == "a b ***"
    assert len(endpoint.tell("x" * 1000)) == 300


def test_a_proxy_of_the_environment_is_used_where_no_proxy_does_not_exclude_the_host(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    assert read_endpoint("http://far/v1", {}).proxy == "http://proxy:3128"
    assert read_endpoint("http://localhost/v1", {}).proxy is None
    assert read_endpoint("https://far/v1", {}).proxy is None


def test_an_ipv6_host_keeps_its_brackets():
    assert read_endpoint("http://[::1]:8000/v1", {}).url == "http://[::1]:8000/v1"


@pytest.mark.parametrize("url", ["http://", "http://host:port/v1", "http://:80/v1"])
def test_a_url_without_host_or_with_a_bad_port_is_refused(url):
    with pytest.raises(ConfigError, match="HOST:PORT"):
        read_endpoint(url, {})
