from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from sightwords.descriptions.describers.base import Decoding, Request
from sightwords.descriptions.describers.server.chat_protocol import (
    Dialect,
    FaultError,
    NoAnswerError,
    NotServedError,
    OverloadedError,
    RefusedError,
    Reply,
    model_names,
    read_completion,
    retry_after_s,
)
from sightwords.descriptions.describers.server.picture import Picture

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def reply(status: int, payload: object, **headers: str) -> Reply:
    return Reply(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(payload).encode()
    )


@pytest.mark.parametrize("text", ["Describe.", 'Say "x" \\ and\nmore', "Über 😀"])
@pytest.mark.parametrize("picture", [Picture(b"data:image/jpeg;base64,", b"QUJD"), None])
def test_the_spliced_body_is_the_json_that_an_encoder_would_write(text, picture):
    request = Request("k", 1, 0, "n", "", "plain", text, picture)
    body = json.loads(Dialect().body('odd "model"', request, Decoding(seed=3)))
    image = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,QUJD"}}
    content = [image, {"type": "text", "text": text}] if picture else text
    assert body == {
        "model": 'odd "model"', "max_tokens": 256, "temperature": 0.7, "seed": Decoding(seed=3).seed_of(request),
        "messages": [{"role": "user", "content": content}],
    }  # fmt: skip


def test_a_dialect_leaves_out_what_is_not_taken():
    request = Request("k", 0, 0, "n", "", "plain", "?", None)
    body = json.loads(Dialect("max_completion_tokens", False, False).body("m", request, Decoding()))
    assert set(body) == {"model", "max_completion_tokens", "messages"}


def openai(name: str, words: str) -> Reply:
    return reply(400, {"error": {"message": words, "param": name, "code": "x"}})


@pytest.mark.parametrize(
    ("refusal", "adapted"),
    [
        (
            openai("max_tokens", "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
            Dialect("max_completion_tokens"),
        ),
        (openai("seed", "Unknown parameter: 'seed'."), Dialect(has_seed=False)),
        (openai("seed", "Unrecognized request argument supplied: seed"), Dialect(has_seed=False)),
        (
            openai("temperature", "'temperature' does not support 0.0. Only the default (1) value is supported."),
            Dialect(has_temperature=False),
        ),
        (
            reply(422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}),
            Dialect(has_seed=False),
        ),
        (reply(400, {"message": "property 'seed' is unsupported"}), Dialect(has_seed=False)),
        (openai("max_tokens", "max_tokens is too large: 256. The context has 2048 tokens."), None),
        (openai("image", "unsupported image format"), None),
        (reply(400, {"message": "this model does not support images"}), None),
        (reply(500, {"message": "seed unsupported"}), None),
        (reply(200, {"message": "seed unsupported"}), None),
    ],
)
def test_a_refused_parameter_is_recognized_by_the_servers_words(refusal, adapted):
    assert Dialect().adapted(refusal) == adapted


def test_a_parameter_that_is_not_sent_is_not_given_up_again():
    dialect = Dialect("max_completion_tokens", has_temperature=False, has_seed=False)
    assert dialect.adapted(openai("seed", "Unknown parameter: seed, temperature, max_tokens")) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, NotServedError), (400, RefusedError), (401, NotServedError), (402, NotServedError), (403, NotServedError),
        (404, NotServedError), (408, NoAnswerError), (409, NoAnswerError), (413, RefusedError), (422, RefusedError),
        (425, NoAnswerError), (429, OverloadedError), (500, NoAnswerError), (503, NoAnswerError), (529, NoAnswerError),
    ],
)  # fmt: skip
def test_every_status_has_its_meaning(status, kind):
    with pytest.raises(kind) as caught:
        read_completion(reply(status, {"error": "words"}))
    assert type(caught.value) is kind
    if status > 301:
        assert f"{status}: words" in str(caught.value)


def test_a_server_that_says_when_to_come_back_is_overloaded_and_not_broken():
    with pytest.raises(OverloadedError) as caught:
        read_completion(reply(503, {"error": "words"}, Retry_After="7"))
    assert caught.value.wait_s == 7


def test_an_error_with_status_200_is_an_error():
    with pytest.raises(RefusedError, match="400: too long"):
        read_completion(reply(200, {"error": {"code": 400, "message": "too long"}}))
    with pytest.raises(NoAnswerError, match="500: what"):
        read_completion(reply(200, {"error": "what"}))


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "many"}, []])
def test_counts_that_are_missing_are_unknown(usage):
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    completion = read_completion(reply(200, {"choices": [choice], "usage": usage}))
    assert (completion.text, completion.num_prompt_tokens, completion.num_text_tokens) == ("x", None, None)


@pytest.mark.parametrize(
    "payload", [None, [], {}, {"choices": None}, {"choices": ["x"]}, {"choices": [{"message": 1}]}]
)
def test_what_is_no_completion_is_a_fault(payload):
    with pytest.raises(FaultError, match="no choices"):
        read_completion(reply(200, payload))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "3"}, 3.0),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30.0),
        ({"Retry-After": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0.0),
        ({"Retry-After": "Thu, 01 Jan 2026 12:00:30"}, 30.0),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers, seconds):
    assert retry_after_s(headers, NOW) == seconds


def test_model_names_are_read_where_there_are_any():
    assert model_names(reply(200, {"data": [{"id": "a"}, {"id": "b"}]})) == ["a", "b"]
    for payload in (None, {}, {"data": 3}, {"data": ["a"]}):
        assert model_names(reply(200, payload)) == []
