from __future__ import annotations

import io
import logging
import re
import socket
import threading
import time

import pytest
from PIL import Image

from sightwords.errors import UnavailableError, UnreadableImageError
from sightwords.stages.describe.describers import server
from sightwords.stages.describe.describers.base import Decoding, Request
from sightwords.stages.describe.describers.server import ServerDescriber, sendable_format
from support.chat_server import Reply, chat, chat_server, refusal
from support.images import draw


@pytest.fixture(autouse=True)
def few_retries(monkeypatch):
    """Two tries of a request, so that no test waits long; no key of the developer's."""
    monkeypatch.setattr(server, "NUM_RETRIES", 1)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("SIGHTWORDS_API_KEY", raising=False)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ask(url: str, num: int = 1, concurrency: int = 4, timeout_s: float = 5.0, sample: int = 0, first: int = 0):
    """Ask about `num` different pictures; return the answers by picture number."""
    describer = ServerDescriber("tiny", url, Decoding(max_new_tokens=9), concurrency, timeout_s)
    return {int(a.request.key): a for a in describer.describe(requests(describer, num, sample, first))}


def requests(describer: ServerDescriber, num: int, sample: int = 0, first: int = 0):
    for i in range(first, first + num):
        picture = describer.prepare(encoded(draw("disc", i)), f"{i}.png")
        yield Request(str(i), sample, f"{i}.png", "plain", "Describe this.", picture)


def test_an_answer_comes_with_its_counts_and_the_request_is_well_formed():
    with chat_server(lambda call: chat(" A disc. ")) as served:
        answer = ask(served.url)[0]
    assert (answer.text, answer.status, answer.reason) == ("A disc.", "ok", "")
    assert (answer.num_prompt_tokens, answer.num_text_tokens) == (7, 3)
    assert answer.seconds > 0
    (call,) = served.calls
    assert call.path == "/v1/chat/completions"
    assert call.image == encoded(draw("disc", 0))  # a small PNG is sent as it is
    assert call.media_type == "data:image/png;base64"
    assert call.body["messages"][0]["content"][1] == {"type": "text", "text": "Describe this."}
    assert (call.body["model"], call.body["max_tokens"], call.body["temperature"]) == ("tiny", 9, 0.0)
    assert call.headers["authorization"] == "Bearer none"


def test_samples_are_asked_with_a_temperature_and_seeds_of_their_own():
    with chat_server(lambda call: chat("x")) as served:
        ask(served.url, 2, sample=1)
        ask(served.url, 1, sample=2)
    assert {call.body["temperature"] for call in served.calls} == {0.7}
    assert len({call.body["seed"] for call in served.calls}) == 3


def test_at_most_concurrency_requests_are_open_and_nothing_is_taken_ahead():
    release = threading.Event()
    taken = []

    def slow(call):
        release.wait(10)
        return chat("x")

    with chat_server(slow) as served:
        describer = ServerDescriber("tiny", served.url, Decoding(), 3)

        def feed():
            for request in requests(describer, 12):
                taken.append(request)
                yield request

        timer = threading.Timer(0.5, release.set)
        timer.start()
        given = describer.describe(feed())
        next(given)
        assert len(taken) == 3
        assert len(list(given)) == 11
        timer.join()
    assert served.most_open == 3


def test_an_answer_that_the_limit_cut_and_an_empty_one_are_told_apart():
    replies = iter([chat("A long", "length"), chat(""), chat(None)])
    with chat_server(lambda call: next(replies)) as served:
        cut, empty, none = (ask(served.url)[0] for _ in range(3))
    assert (cut.status, cut.reason) == ("ok", "cut at 3 tokens")
    assert [(a.status, a.reason) for a in (empty, none)] == [("rejected", "empty")] * 2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_fault_is_asked_again(status):
    replies = iter([refusal(status, "busy", retry_after_ms="10"), chat("A disc.")])
    with chat_server(lambda call: next(replies)) as served:
        assert ask(served.url)[0].text == "A disc."
    assert len(served.calls) == 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_image_that_is_refused_fails_alone_and_is_not_asked_again(status):
    bad = encoded(draw("disc", 2))
    with chat_server(lambda call: refusal(status, "too hot") if call.image == bad else chat("A disc.")) as served:
        given = ask(served.url, 5)
    assert [given[i].status for i in range(5)] == ["ok", "ok", "failed", "ok", "ok"]
    assert given[2].reason == f"refused: {status}: too hot"
    assert len(served.calls) == 5


@pytest.mark.parametrize(
    "payload",
    [
        {"error": {"message": "too hot", "type": "x"}},
        {"error": "too hot"},
        {"detail": "too hot"},
        {"object": "error", "message": "too hot", "code": 400},
        b"too hot\n",
        {"detail": [{"msg": "too hot"}]},
    ],
)
def test_the_servers_own_words_are_the_reason_however_it_words_errors(payload):
    with chat_server(lambda call: Reply(payload, 400)) as served:
        assert re.fullmatch(r"refused: 400: .*too hot.*", ask(served.url)[0].reason)


def test_a_secret_is_not_half_kept_where_a_long_error_is_cut(monkeypatch):
    monkeypatch.setenv("SIGHTWORDS_API_KEY", "sk-very-secret")
    with chat_server(lambda call: refusal(400, "x" * 290 + " sk-very-secret")) as served:
        reason = ask(served.url)[0].reason
    assert len(reason) < 320
    assert "sk-v" not in reason


def test_an_error_without_words_still_has_its_status():
    with chat_server(lambda call: Reply(b"", 400)) as served:
        assert ask(served.url)[0].reason == "refused: 400: no reason given"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (refusal(500, "boom", retry_after_ms="1"), "the server failed: .*boom"),
        (Reply(None), "the connection was lost"),
        (Reply(b"{broken"), "cannot be understood"),
        (Reply({"choices": []}), "cannot be understood"),
        (Reply(["what"]), "cannot be understood"),
        (Reply({"choices": [{"message": {"content": 5}}]}), "cannot be understood"),
    ],
)
def test_every_other_fault_fails_one_image_with_a_reason(reply, reason):
    bad = encoded(draw("disc", 0))
    with chat_server(lambda call: reply if call.image == bad else chat("A disc.")) as served:
        given = ask(served.url, 2)
    assert given[0].status == "failed"
    assert given[1].text == "A disc."
    assert re.search(reason, given[0].reason), given[0].reason


def test_a_server_that_hangs_fails_the_image_after_the_timeout():
    release = threading.Event()

    def hang(call):
        release.wait(10)
        return chat("late")

    with chat_server(hang) as served:
        start_s = time.monotonic()
        answer = ask(served.url, timeout_s=0.3)[0]
        release.set()
    assert answer.status == "failed"
    assert answer.reason == "no answer within 2 tries of 0.3 s"
    assert time.monotonic() - start_s < 8


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_key_stops_the_run_and_is_not_repeated(status, monkeypatch):
    monkeypatch.setenv("SIGHTWORDS_API_KEY", "sk-very-secret")
    with chat_server(lambda call: refusal(status, f"bad key {call.headers['authorization']}")) as served:
        with pytest.raises(UnavailableError, match="SIGHTWORDS_API_KEY") as caught:
            ask(served.url, 100)
        assert served.calls[0].headers["authorization"] == "Bearer sk-very-secret"
        assert len(served.calls) <= 5
    assert "sk-very-secret" not in str(caught.value)
    assert served.url in str(caught.value)


def test_an_unknown_model_is_answered_with_those_on_offer():
    with (
        chat_server(lambda call: refusal(404, "no such model"), models=("llava-7b", "qwen")) as served,
        pytest.raises(UnavailableError, match=r"no model 'tiny'.*It offers: llava-7b, qwen"),
    ):
        ask(served.url)


def test_answers_that_had_arrived_are_given_before_the_run_stops():
    bad = encoded(draw("disc", 0))
    given = []

    def slow_disk(describer):
        for i, request in enumerate(requests(describer, 4)):
            time.sleep(0.6 if i == 3 else 0)  # the refusal and, after it, two answers arrive meanwhile
            yield request

    def reply(call):
        time.sleep(0 if call.image == bad else 0.2)
        return refusal(401, "revoked") if call.image == bad else chat("A disc.")

    with chat_server(reply) as served:
        describer = ServerDescriber("tiny", served.url, Decoding(), 10)
        with pytest.raises(UnavailableError):
            given.extend(describer.describe(slow_disk(describer)))  # extend keeps what came before the error
    assert {answer.request.key for answer in given} == {"1", "2"}


def test_a_server_that_goes_away_midway_stops_the_run():
    hang_up = {"Connection": "close"}
    with chat_server(lambda call: Reply(chat("x").payload, headers=hang_up)) as served:
        describer = ServerDescriber("tiny", served.url, Decoding(), 1)
        given = describer.describe(requests(describer, 30))
        assert [next(given).text for _ in range(3)] == ["x"] * 3
    with pytest.raises(UnavailableError, match=f"No server answers at {served.url}"):
        list(given)


def test_a_server_that_nobody_runs_is_named_at_once(monkeypatch):
    monkeypatch.setattr(server, "NUM_RETRIES", 6)  # more than 20 s of waiting between tries
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    start_s = time.monotonic()
    with pytest.raises(UnavailableError, match=f"No server answers at {url}"):
        ask(url)
    assert time.monotonic() - start_s < 5


def test_user_password_and_query_reach_the_server_and_nothing_else(caplog):
    caplog.set_level(logging.INFO)
    with chat_server(lambda call: chat("x")) as served:
        url = served.url.replace("://", "://ann:hunter22@") + "?key=querysecret"
        describer = ServerDescriber("tiny", url, Decoding(), 1)
        list(describer.describe(requests(describer, 1)))
    assert served.calls[0].headers["authorization"] == "Basic YW5uOmh1bnRlcjIy"
    assert served.calls[0].path == "/v1/chat/completions?key=querysecret"
    shown = repr(describer.info()) + caplog.text
    assert served.url in shown
    assert not [secret for secret in ("hunter22", "querysecret", "YW5uOmh1bnRlcjIy") if secret in shown]


def test_it_also_works_inside_a_running_event_loop():
    import asyncio

    async def notebook(url):
        return ask(url)

    with chat_server(lambda call: chat("A disc.")) as served:
        assert asyncio.run(notebook(served.url))[0].text == "A disc."


def test_closing_early_leaves_no_thread_behind():
    with chat_server(lambda call: chat("x")) as served:
        describer = ServerDescriber("tiny", served.url, Decoding(), 2)
        given = describer.describe(requests(describer, 10))
        next(given)
        given.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "sightwords-server"]


def test_files_are_sent_as_they_are_only_where_the_server_would_see_the_same():
    image = draw("disc", 1, 48)
    turned, upright = Image.Exif(), Image.Exif()
    turned[0x0112], upright[0x0112] = 6, 1
    frames = {"save_all": True, "append_images": [draw("bar", 2, 48)]}
    assert sendable_format(encoded(image, "JPEG"), 48) == "jpeg"
    assert sendable_format(encoded(image, "JPEG", exif=upright), 48) == "jpeg"
    assert sendable_format(encoded(image.convert("L"), "PNG"), 48) == "png"
    assert sendable_format(encoded(image, "PNG"), 47) is None
    assert sendable_format(encoded(image, "JPEG", exif=turned), 48) is None
    assert sendable_format(encoded(image.convert("RGBA"), "PNG"), 48) is None
    assert sendable_format(encoded(image.convert("CMYK"), "JPEG"), 48) is None
    assert sendable_format(encoded(image.convert("P"), "PNG", transparency=0), 48) is None
    assert sendable_format(encoded(image, "PNG", **frames), 48) is None
    assert sendable_format(encoded(image, "WEBP"), 48) is None


def test_other_files_are_scaled_turned_and_sent_as_jpeg():
    turned = Image.Exif()
    turned[0x0112] = 6
    data = encoded(Image.new("RGB", (200, 100), (10, 200, 30)), "JPEG", exif=turned)
    with chat_server(lambda call: chat("x")) as served:
        describer = ServerDescriber("tiny", served.url, Decoding(max_side=64), 1)
        list(describer.describe([Request("k", 0, "n", "plain", "?", describer.prepare(data, "n"))]))
    sent = Image.open(io.BytesIO(served.calls[0].image))
    assert (sent.format, sent.size) == ("JPEG", (32, 64))
    assert all(abs(a - b) < 8 for a, b in zip(sent.getpixel((16, 32)), (10, 200, 30), strict=True))


def test_a_truncated_image_is_refused_before_it_is_sent():
    describer = ServerDescriber("tiny", "http://localhost:1/v1", Decoding(), 1)
    with pytest.raises(UnreadableImageError):
        describer.prepare(encoded(draw("disc", 0, 64), "JPEG")[:-200], "cut.jpg")
