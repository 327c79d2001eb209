from __future__ import annotations

import asyncio
import io
import logging
import threading
import time

import pytest
from PIL import Image

from sightwords.descriptions.describers.base import Decoding, Request
from sightwords.descriptions.describers.server.describer import MAX_REFUSALS
from sightwords.errors import MissingExtraError, UnavailableError, UnreadableImageError
from support.ask_server import ask, describer_of, encoded, never, questions
from support.chat_server import chat, chat_server, refusal
from support.images import draw


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("SIGHTWORDS_API_KEY", raising=False)


def threads() -> list[str]:
    """Return the threads of ours, after giving idle ones of the name resolver a moment to end."""
    for _ in range(100):
        names = [t.name for t in threading.enumerate() if t.name.startswith(("sightwords", "asyncio"))]
        if not names:
            break
        time.sleep(0.01)
    return names


def test_an_answer_comes_with_its_counts_and_the_request_is_well_formed():
    with chat_server(lambda call: chat(" A disc. ")) as served:
        answer = ask(served.url)[0]
    assert (answer.text, answer.status, answer.reason, answer.cut_at) == (" A disc. ", "ok", "", None)
    assert (answer.num_prompt_tokens, answer.num_text_tokens) == (7, 3)
    assert answer.seconds > 0
    (call,) = served.calls
    assert call.path == "/v1/chat/completions"
    assert call.image == encoded(draw("disc", 0))  # a small PNG is sent as it is
    assert call.media_type == "data:image/png;base64"
    assert call.body["messages"][0]["content"][1] == {"type": "text", "text": "Describe this."}
    assert (call.body["model"], call.body["max_tokens"], call.body["temperature"]) == ("tiny", 9, 0.0)
    assert call.headers["authorization"] == "Bearer none"


def test_a_question_without_a_picture_is_plain_text():
    with chat_server(lambda call: chat("Round.")) as served:
        describer = describer_of(served.url)
        request = Request("class:disc", 0, 0, "disc", "disc", "class_features", 'What is a "disc"?\n', None)
        (answer,) = describer.describe([request], never)
    assert answer.text == "Round."
    assert served.calls[0].body["messages"] == [{"role": "user", "content": 'What is a "disc"?\n'}]


def test_samples_are_asked_with_a_temperature_and_seeds_of_their_own():
    with chat_server(lambda call: chat("x")) as served:
        ask(served.url, num=2, sample=1)
        ask(served.url, sample=2)
    assert {call.body["temperature"] for call in served.calls} == {0.7}
    assert len({call.body["seed"] for call in served.calls}) == 3


def test_where_it_is_served_does_not_name_the_describer():
    info = describer_of("http://here:1/v1", "http://there:2/v1").info()
    assert (info.identifier, info.model, info.revision) == ("server:tiny", "tiny", "")


def test_at_most_concurrency_requests_are_open_and_few_are_taken_ahead():
    release = threading.Event()
    taken = []

    def slow(call):
        release.wait(10)
        return chat("x")

    with chat_server(slow) as served:
        describer = describer_of(served.url, concurrency=3)

        def feed():
            for request in questions(describer, 12):
                taken.append(request)
                yield request

        threading.Timer(0.5, release.set).start()
        given = describer.describe(feed(), never)
        next(given)
        assert len(taken) == 4
        assert len(list(given)) == 11
    assert served.most_open == 3


def test_more_are_open_as_answers_come():
    def reply(call):
        time.sleep(0.05)
        return chat("x")

    with chat_server(reply) as served:
        assert len(ask(served.url, num=300, concurrency=32)) == 300
    assert 16 <= served.most_open <= 32


def test_answers_flow_while_the_requests_are_slow_to_come():
    arrived_s = []

    def slow_disk(describer):
        for request in questions(describer, 6):
            time.sleep(0.1)
            yield request

    with chat_server(lambda call: chat("x")) as served:
        describer = describer_of(served.url)
        for _ in describer.describe(slow_disk(describer), never):
            arrived_s.append(time.monotonic())
    assert arrived_s[3] - arrived_s[0] > 0.25


def test_it_can_be_asked_again_after_it_has_ended():
    with chat_server(lambda call: chat("x")) as served:
        describer = describer_of(served.url)
        for _ in range(3):
            assert len(list(describer.describe(questions(describer, 5), never))) == 5
        assert list(describer.describe([], never)) == []


def test_after_stopping_nothing_is_sent_and_what_is_in_flight_arrives():
    stop, release = threading.Event(), threading.Event()

    def slow(call):
        release.wait(10)
        return chat("x")

    with chat_server(slow) as served:
        describer = describer_of(served.url, concurrency=4)
        threading.Timer(0.3, stop.set).start()
        threading.Timer(0.6, release.set).start()
        answers = list(describer.describe(questions(describer, 50), stop.is_set))
        assert [answer.text for answer in answers] == ["x"] * 4
        assert len(served.calls) == 4
    assert not threads()


def test_after_stopping_backoffs_end_without_another_try():
    stop = threading.Event()

    def reply(call):
        threading.Timer(0.1, stop.set).start()
        return refusal(429, "later", retry_after="60")

    with chat_server(reply) as served:
        describer = describer_of(served.url, patience_s=100)
        start_s = time.monotonic()
        assert list(describer.describe(questions(describer, 5), stop.is_set)) == []
    assert time.monotonic() - start_s < 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_closing_early_ends_everything_at_once(host, caplog, recwarn):
    release = threading.Event()

    def reply(call):
        if len(served.calls) > 1:
            release.wait(10)
        return chat("x")

    with chat_server(reply) as served:
        describer = describer_of(served.url.replace("127.0.0.1", host), concurrency=8)
        given = describer.describe(questions(describer, 30), never)
        next(given)
        start_s = time.monotonic()
        given.close()
        assert time.monotonic() - start_s < 1
        release.set()
    assert not threads()
    assert not caplog.records
    assert not [w for w in recwarn if issubclass(w.category, ResourceWarning | RuntimeWarning)]


def test_an_error_of_the_requests_comes_through_and_ends_everything():
    def broken(describer):
        yield from questions(describer, 2)
        raise KeyboardInterrupt

    with chat_server(lambda call: chat("x")) as served:
        describer = describer_of(served.url)
        with pytest.raises(KeyboardInterrupt):
            list(describer.describe(broken(describer), never))
    assert not threads()


def test_it_also_works_inside_a_running_event_loop():
    async def notebook(url):
        return ask(url)

    with chat_server(lambda call: chat("A disc.")) as served:
        assert asyncio.run(notebook(served.url))[0].text == "A disc."


def test_a_mistake_in_the_engine_is_raised_and_not_waited_for(monkeypatch):
    monkeypatch.setattr("sightwords.descriptions.describers.server.dispatcher.read_completion", lambda reply: 1 / 0)
    with chat_server(lambda call: chat("x")) as served, pytest.raises(ZeroDivisionError):
        ask(served.url)


def test_a_model_that_refuses_all_is_told_and_nothing_is_rejected_for_good():
    with (
        chat_server(lambda call: refusal(400, "tiny is not a multimodal model")) as served,
        pytest.raises(UnavailableError, match=r"all refused.*400: tiny is not a multimodal model.*sees images"),
    ):
        ask(served.url, num=100)
    assert len(served.calls) < 2 * MAX_REFUSALS


def test_other_files_are_scaled_turned_and_sent_as_jpeg():
    turned = Image.Exif()
    turned[0x0112] = 6
    data = encoded(Image.new("RGB", (200, 100), (10, 200, 30)), "JPEG", exif=turned)
    with chat_server(lambda call: chat("x")) as served:
        describer = describer_of(served.url)
        describer.decoding = Decoding(max_side=64)
        list(describer.describe([Request("k", 0, 0, "n", "", "plain", "?", describer.prepare(data, "n"))], never))
    sent = Image.open(io.BytesIO(served.calls[0].image))
    assert (sent.format, sent.size) == ("JPEG", (32, 64))
    assert all(abs(a - b) < 8 for a, b in zip(sent.getpixel((16, 32)), (10, 200, 30), strict=True))


def test_a_truncated_image_is_refused_before_it_is_sent():
    with pytest.raises(UnreadableImageError):
        describer_of("http://localhost:1/v1").prepare(encoded(draw("disc", 0, 64), "JPEG")[:-200], "cut.jpg")


# secrets

SECRETS = ("sk-very-secret", "hunter22", "querysecret", "YW5uOmh1bnRlcjIy", "proxypass")


def test_user_password_and_query_reach_the_server_and_nothing_else(caplog, monkeypatch):
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    caplog.set_level(logging.DEBUG)
    with chat_server(lambda call: chat(f"You said {call.headers['authorization']} to {call.path}")) as served:
        url = served.url.replace("://", "://ann:hunter22@") + "?key=querysecret"
        describer = describer_of(url)
        answers = list(describer.describe(questions(describer, 3), never))
    assert served.calls[0].headers["authorization"] == "Basic YW5uOmh1bnRlcjIy"
    assert served.calls[0].path == "/v1/chat/completions?key=querysecret"
    shown = repr(describer.info()) + caplog.text + repr(answers) + repr(vars(describer))
    assert not [secret for secret in SECRETS if secret in shown]


def test_the_key_is_in_no_error_log_notice_or_chain_of_exceptions(caplog, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    monkeypatch.setenv("SIGHTWORDS_API_KEY", "sk-very-secret")
    caplog.set_level(logging.DEBUG)

    def reply(call):
        assert call.headers["authorization"] == "Bearer sk-very-secret"
        faults = [refusal(500, "sk-very-secret"), refusal(429, "sk-very-secret"), refusal(401, "bad sk-very-secret")]
        return faults[min(len(served.calls) - 1, 2)]

    with chat_server(reply) as served, pytest.raises(UnavailableError) as caught:
        describer = describer_of(served.url + "?key=querysecret")
        list(describer.describe(questions(describer, 3), never))
    error: BaseException | None = caught.value
    shown = caplog.text + repr(describer.notices) + "".join(capfd.readouterr())
    while error is not None:
        shown += repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__
    assert "bad ***" in shown
    assert not [secret for secret in SECRETS if secret in shown]


def test_aiohttp_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "aiohttp", None)
    with pytest.raises(MissingExtraError, match=r"sightwords\[server\]"):
        describer_of("http://localhost:1/v1")
