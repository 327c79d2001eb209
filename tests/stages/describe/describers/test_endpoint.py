from __future__ import annotations

import base64

import pytest

from sightwords.errors import ConfigError
from sightwords.stages.describe.describers.endpoint import read_endpoint


def test_secrets_of_the_url_are_held_apart():
    endpoint = read_endpoint("https://ann:p%40ssword@host.org:8443/v1/?key=querysecret", {})
    assert endpoint.url == "https://host.org:8443/v1"
    assert endpoint.query == {"key": "querysecret"}
    assert base64.b64decode(endpoint.headers["Authorization"].removeprefix("Basic ")) == b"ann:p@ssword"
    assert not [secret for secret in ("p@ssword", "querysecret", "Basic") if secret in repr(endpoint)]


def test_the_key_comes_from_the_environment_in_order():
    both = {"SIGHTWORDS_API_KEY": "first-key", "OPENAI_API_KEY": "second-key"}
    assert read_endpoint("http://h/v1", both).api_key == "first-key"
    assert read_endpoint("http://h/v1", {"OPENAI_API_KEY": "second-key"}).api_key == "second-key"
    assert read_endpoint("http://h/v1", {}).api_key == "none"
    assert "first-key" not in repr(read_endpoint("http://h/v1", both))


def test_scrub_removes_every_secret_and_nothing_else():
    endpoint = read_endpoint("https://ann:password1@h/v1?key=querysecret", {"OPENAI_API_KEY": "sk-12345678"})
    token = endpoint.headers["Authorization"].removeprefix("Basic ")
    said = endpoint.scrub(f"bad key sk-12345678, {token}, password1, querysecret: a bird")
    assert said == "bad key ***, ***, ***, ***: a bird"
    assert read_endpoint("http://h/v1", {}).scrub("none of it") == "none of it"


def test_an_ipv6_host_keeps_its_brackets():
    assert read_endpoint("http://[::1]:8000/v1", {}).url == "http://[::1]:8000/v1"


@pytest.mark.parametrize("url", ["http://", "http://host:port/v1", "http://:80/v1"])
def test_a_url_without_host_or_with_a_bad_port_is_refused(url):
    with pytest.raises(ConfigError, match="HOST:PORT"):
        read_endpoint(url, {})
