"""The server describer against a real HTTP server on loopback: what it sends, and that no fault loses anything."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightwords.descriptions.describers import server, server_pool
from sightwords.descriptions.describers.base import Request
from sightwords.descriptions.describers.server import MAX_REFUSALS, data_url
from sightwords.errors import UnavailableError, UnreadableImageError
from sightwords.images.decode import decode_image
from support.ask_server import ask, describer_of, encoded, never, questions
from support.chat_server import ChatServer, Reply, chat, chat_server, refusal
from support.images import draw

BAD = encoded(draw("disc", 2))
TESTS = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """No test waits long; no key of the developer's."""
    monkeypatch.setattr(server_pool, "FIRST_PAUSE_S", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("SIGHTWORDS_API_KEY", raising=False)


def slowly(seconds: float = 0.02, text: str = "A disc."):
    def answer(call):
        time.sleep(seconds)
        return chat(text)

    return answer


def for_bad(reply: Reply):
    return lambda call: reply if call.image == BAD else chat("A disc.")


def others_answered(given: dict) -> bool:
    return all(answer.status == "ok" for i, answer in given.items() if i != 2)


def threads() -> list[str]:
    """Return the threads of ours, after giving idle ones of the name resolver a moment to end."""
    for _ in range(100):
        names = [t.name for t in threading.enumerate() if t.name.startswith(("sightwords", "asyncio"))]
        if not names:
            break
        time.sleep(0.01)
    return names


def test_an_answer_comes_with_its_counts_and_the_request_is_well_formed():
    with chat_server(lambda call: chat(" A disc. ", "length")) as served:
        answer = ask(served.url)[0]
    assert (answer.text, answer.status, answer.reason, answer.cut_at) == (" A disc. ", "ok", "", 3)
    assert (answer.num_prompt_tokens, answer.num_text_tokens) == (7, 3)
    assert answer.seconds > 0
    (call,) = served.calls
    assert (call.path, call.headers["authorization"]) == ("/v1/chat/completions", "Bearer none")
    assert (call.image, call.media_type) == (encoded(draw("disc", 0)), "data:image/png;base64")
    assert call.body["messages"][0]["content"][1] == {"type": "text", "text": "Describe this."}
    assert (call.body["model"], call.body["max_tokens"], call.body["temperature"]) == ("tiny", 9, 0.0)


@pytest.mark.parametrize("text", ['What is a "disc"?\n', '{"url": ""}', "Über \\ 😀"])
@pytest.mark.parametrize("is_shown", [False, True])
def test_any_text_arrives_as_it_is(text, is_shown):
    with chat_server(lambda call: chat("Round.")) as served:
        describer = describer_of(served.url)
        image = describer.prepare(BAD, "n") if is_shown else None
        (answer,) = describer.describe([Request("k", 0, 0, "n", "", text, image)], never)
    content = served.calls[0].body["messages"][0]["content"]
    assert answer.text == "Round."
    assert (content[1]["text"] if is_shown else content) == text
    assert served.calls[0].image == (BAD if is_shown else b"")


def test_samples_are_asked_with_a_temperature_and_seeds_of_their_own():
    with chat_server(lambda call: chat("x")) as served:
        ask(served.url, num=2, sample=1)
        ask(served.url, sample=2)
    assert {call.body["temperature"] for call in served.calls} == {0.7}
    assert len({call.body["seed"] for call in served.calls}) == 3


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (chat(None), ""),
        (chat(None, refusal="I can't help with that."), "I can't help with that."),
        (chat([{"type": "text", "text": "A "}, {"type": "text", "text": "disc."}]), "A disc."),
        (chat("word " * 80_000), "word " * 80_000),
        (Reply({"choices": [{"message": {"content": "x"}}], "usage": None}), "x"),
    ],
)
def test_content_of_other_shapes_is_an_answer(reply, text):
    with chat_server(lambda call: reply) as served:
        answer = ask(served.url)[0]
    assert (answer.status, answer.text) == ("ok", text)


def shaded(side: int = 96, mode: str = "RGB") -> Image.Image:
    red, green = np.meshgrid(np.linspace(0, 255, side), np.linspace(0, 255, side))
    return Image.fromarray(np.stack([red, green, 255 - red], axis=-1).astype(np.uint8)).convert(mode)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (encoded(shaded(), "JPEG"), "jpeg"),
        (encoded(shaded(), "JPEG", progressive=True, exif=turned(1)), "jpeg"),
        (encoded(shaded(mode="L"), "PNG"), "png"),
        (encoded(shaded(97), "PNG"), None),
        (encoded(shaded(), "JPEG", exif=turned(6)), None),
        (encoded(shaded(mode="RGBA"), "PNG"), None),
        (encoded(shaded(mode="CMYK"), "JPEG"), None),
        (encoded(shaded(mode="P"), "PNG", transparency=0), None),
        (encoded(shaded(), "PNG", save_all=True, append_images=[draw("bar", 2, 96)]), None),
        (encoded(shaded(), "WEBP"), None),
    ],
)
def test_a_file_is_sent_as_it_is_only_where_the_server_would_see_the_same(data, kind):
    head, sent = data_url(data, "a", 96)
    assert head == f"data:image/{kind or 'jpeg'};base64,".encode()
    assert (base64.b64decode(sent) == data) == (kind is not None)
    seen, ours = decode_image(base64.b64decode(sent), "a"), decode_image(data, "a").resize((96, 96))
    assert np.abs(np.subtract(seen, ours, dtype=float)).mean() < (20 if kind is None else 1e-9)


def test_a_whole_jpeg_is_not_decoded_and_one_that_was_cut_anywhere_is_refused(monkeypatch):
    data = encoded(shaded(16), "JPEG", progressive=True)
    for end in range(len(data)):
        with pytest.raises(UnreadableImageError):
            data_url(data[:end], "cut.jpg", 96)
    monkeypatch.setattr(server, "thumbnail", lambda *_: pytest.fail("decoded"))
    data_url(data, "a", 96)


def test_an_image_with_much_metadata_is_encoded_anew(monkeypatch):
    monkeypatch.setattr(server, "MAX_SENT_BYTES", 60_000)
    assert len(data_url(encoded(shaded(), "JPEG", comment=b"x" * 60_000), "a", 96)[1]) < 60_000


def test_at_most_concurrency_requests_are_open_and_few_are_taken_ahead():
    release, taken = threading.Event(), []

    def feed(describer):
        for request in questions(describer, 12):
            taken.append(request)
            yield request

    with chat_server(lambda call: release.wait(10) and chat("x")) as served:
        describer = describer_of(served.url, concurrency=3)
        threading.Timer(0.5, release.set).start()
        given = describer.describe(feed(describer), never)
        next(given)
        assert len(taken) == 4
        assert len(list(given)) == 11
    assert served.most_open == 3


def test_answers_flow_while_the_requests_are_slow_to_come():
    arrived_s = []

    def slow_disk(describer):
        for request in questions(describer, 6):
            time.sleep(0.1)
            yield request

    with chat_server(lambda call: chat("x")) as served:
        describer = describer_of(served.url)
        for _ in range(2):  # it can be asked again
            for _ in describer.describe(slow_disk(describer), never):
                arrived_s.append(time.monotonic())
    assert len(arrived_s) == 12
    assert arrived_s[3] - arrived_s[0] > 0.25


def test_after_stopping_nothing_is_sent_and_what_is_in_flight_arrives():
    stop, release = threading.Event(), threading.Event()
    with chat_server(lambda call: release.wait(10) and chat("x")) as served:
        describer = describer_of(served.url, concurrency=4)
        threading.Timer(0.3, stop.set).start()
        threading.Timer(0.6, release.set).start()
        answers = list(describer.describe(questions(describer, 50), stop.is_set))
    assert [answer.text for answer in answers] == ["x"] * 4
    assert len(served.calls) == 4
    assert not threads()


@pytest.mark.parametrize("fault", [refusal(429, "later", retry_after="60"), refusal(500, "broken")])
def test_after_stopping_backoffs_end_without_another_try(fault, monkeypatch):
    monkeypatch.setattr(server_pool, "FIRST_PAUSE_S", 30.0)
    stop = threading.Event()

    def reply(call):
        threading.Timer(0.1, stop.set).start()
        return fault

    with chat_server(reply) as served:
        describer = describer_of(served.url, patience_s=100)
        start_s = time.monotonic()
        assert list(describer.describe(questions(describer, 5), stop.is_set)) == []
    assert time.monotonic() - start_s < 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_closing_early_ends_everything_at_once(host, caplog, recwarn):
    release = threading.Event()
    with chat_server(lambda call: (len(served.calls) == 1 or release.wait(10)) and chat("x")) as served:
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


def test_a_mistake_of_ours_is_raised_and_not_waited_for(monkeypatch):
    monkeypatch.setattr(server, "read_answer", lambda *_: 1 / 0)
    with chat_server(lambda call: chat("x")) as served, pytest.raises(ZeroDivisionError):
        ask(served.url)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (refusal(500, "boom"), "failed: 500: boom"),
        (Reply(None), "connection lost"),
        (Reply(chat("A disc").payload, num_sent=20), "connection lost"),
        (Reply(b"{broken"), "cannot be understood"),
        (Reply(b"\xff\xfe"), "cannot be understood"),
        (Reply({"choices": [{"message": {"content": 5}}]}), "cannot be understood"),
        (Reply({"error": {"message": "upstream died", "code": 502}}), "failed: 502: upstream died"),
        (chat("word " * 1_000_000), "longer than 4,194,304 bytes"),
    ],
)
def test_a_fault_that_lasts_fails_one_image_after_several_tries(reply, reason):
    with chat_server(for_bad(reply)) as served:
        given = ask(served.url, num=5)
    assert len(given) == 5
    assert others_answered(given)
    assert given[2].status == "failed"
    assert reason in given[2].reason
    assert "5 tries" in given[2].reason
    assert sum(call.image == BAD for call in served.calls) == 5


@pytest.mark.parametrize("fault", [refusal(500, "x"), Reply(None), Reply(b"{")])
def test_a_fault_that_passes_is_not_seen(fault):
    def reply(call):
        return fault if sum(other.image == call.image for other in served.calls) < 3 else chat("A disc.")

    with chat_server(reply) as served:
        given = ask(served.url, num=3, patience_s=30)
    assert [given[i].text for i in range(3)] == ["A disc."] * 3
    assert len(served.calls) == 9


def test_an_answer_that_drips_is_cut_off_at_the_timeout():
    """The time limit holds for the whole answer, not for each of its bytes."""

    def drip(connection):
        with suppress(OSError):
            is_look = connection.recv(10**6).startswith(b"GET")
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (0 if is_look else 1000))
            while not is_look:
                time.sleep(0.05)
                connection.sendall(b" ")

    def serve(listener):
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        start_s = time.monotonic()
        given = ask(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", timeout_s=0.15)
    assert given[0].reason.startswith("no answer within 0.15 s")
    assert time.monotonic() - start_s < 5


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (400, {"error": {"message": "too hot", "type": "x"}}),
        (422, {"detail": [{"msg": "too hot"}]}),
        (400, {"object": "error", "message": "too hot", "code": 400}),
        (400, b"too hot\n"),
        (200, {"error": {"code": 400, "message": "too hot"}}),
    ],
)
def test_an_image_that_is_refused_is_rejected_with_the_servers_words_and_asked_once(status, payload):
    with chat_server(for_bad(Reply(payload, status))) as served:
        given = ask(served.url, num=5)
    assert others_answered(given)
    assert given[2].status == "rejected"
    assert re.fullmatch(r"refused: 4\d\d: .*too hot.*", given[2].reason)
    assert len(served.calls) == 5


def test_a_model_that_refuses_all_is_reported_and_nothing_is_rejected_for_good(monkeypatch):
    monkeypatch.setattr(server, "MAX_TRIES", 1)  # a failure arrives among the refusals and does not let them pass
    reply = lambda call: refusal(500 if call.image == BAD else 400, "tiny sees no images")  # noqa: E731
    with chat_server(reply) as served:
        describer, given = describer_of(served.url), []
        with pytest.raises(UnavailableError, match="400: tiny sees no images"):
            given.extend(describer.describe(questions(describer, 100), never))
    assert [answer.status for answer in given] == ["failed"]
    assert len(served.calls) < 2 * MAX_REFUSALS + 5


def openai_words(name: str) -> Reply:
    words = f"Unsupported parameter: '{name}' is not supported with this model."
    return Reply({"error": {"message": words, "param": name, "code": "unsupported_parameter"}}, 400)


def fastapi_words(name: str) -> Reply:
    detail = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
    return Reply({"detail": [detail]}, 422)


@pytest.mark.parametrize(
    "words", [openai_words, fastapi_words, lambda name: refusal(400, f"Unknown parameter: {name}")]
)
@pytest.mark.parametrize("refused", [["max_tokens"], ["seed"], ["max_tokens", "temperature", "seed"]])
def test_a_parameter_that_the_server_refuses_is_left_out_from_then_on(words, refused):
    def reply(call):
        found = [name for name in refused if name in call.body]
        return words(found[0]) if found else chat("A disc.")

    with chat_server(reply) as served:
        describer = describer_of(served.url)
        answers = list(describer.describe(questions(describer, 30), never))
    assert [answer.status for answer in answers] == ["ok"] * 30
    assert len(describer.notices) == len(refused)
    assert all(name in notice for name, notice in zip(refused, describer.notices, strict=True))
    last = served.calls[-1].body
    assert not set(refused) & set(last)
    assert last.get("max_tokens", last.get("max_completion_tokens")) == 9
    assert len(served.calls) <= 30 + 4 * len(refused)  # at most those that were open when it was found out


@pytest.mark.parametrize("words", ["'max_tokens' is too large: 9.", "unsupported image format"])
def test_what_does_not_fit_one_image_is_a_refusal_and_no_parameter_is_given_up(words):
    with chat_server(for_bad(refusal(400, words))) as served:
        describer = describer_of(served.url)
        answers = list(describer.describe(questions(describer, 5), never))
    assert sum(answer.status == "rejected" for answer in answers) == 1
    assert not describer.notices


def test_retry_after_is_honored_for_the_whole_server():
    times_s = []

    def reply(call):
        times_s.append(time.monotonic())
        return refusal(429, "busy", retry_after="1") if len(times_s) == 1 else chat("A disc.")

    with chat_server(reply) as served:
        assert [answer.status for answer in ask(served.url, num=12, concurrency=1).values()] == ["ok"] * 12
    assert 0.95 <= times_s[1] - times_s[0] < 1.6
    assert len(times_s) == 13


def test_a_server_with_few_places_is_used_fully_and_loses_nothing():
    """It answers four at once and turns the others away, as rate limits do."""
    places = threading.Semaphore(4)

    def reply(call):
        if not places.acquire(blocking=False):
            return refusal(429, "too many requests")
        time.sleep(0.02)
        places.release()
        return chat("A disc.")

    with chat_server(reply) as served:
        given = ask(served.url, num=100, concurrency=64)
    assert [answer.status for answer in given.values()] == ["ok"] * 100
    assert len(served.calls) < 200


@pytest.mark.parametrize("fault", [refusal(429, "quota used up", retry_after="3600"), refusal(500, "out of memory")])
def test_endless_trouble_ends_with_patience_and_the_servers_words(fault):
    with chat_server(lambda call: fault) as served, pytest.raises(UnavailableError, match=r"quota|memory"):
        start_s = time.monotonic()
        ask(served.url, num=500, concurrency=64, patience_s=0.5)
    assert time.monotonic() - start_s < 6
    assert len(served.calls) < 300


def test_too_few_file_descriptors_mean_fewer_requests_at_once_and_no_loss():
    """A limit of open files below --concurrency, as some systems have it, in a process of its own."""
    code = """
import resource, sys
from support.ask_server import ask
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
given = ask(sys.argv[1], num=150, concurrency=256, patience_s=30)
print(len(given), {answer.status for answer in given.values()})
"""
    with chat_server(slowly(0.05)) as served:
        command = [sys.executable, "-c", code, served.url]
        done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS, timeout=60)
    assert done.stdout == "150 {'ok'}\n", done.stderr
    assert served.most_open < 40


def dying(after: int) -> tuple[ChatServer, threading.Event]:
    """Return a running server and the event that so many requests have come."""
    died = threading.Event()

    def reply(call):
        if len(served.calls) == after:
            died.set()
        time.sleep(0.02)
        return chat("A disc.")

    served = ChatServer(reply)
    served.start()
    return served, died


def test_a_server_that_dies_and_comes_back_loses_nothing():
    """Killed with requests open, started again on the same port a second later."""
    served, died = dying(after=40)

    def die_and_come_back():
        died.wait(20)
        served.kill()
        time.sleep(1)
        served.start()

    undertaker = threading.Thread(target=die_and_come_back)
    undertaker.start()
    describer = describer_of(served.url, concurrency=16, patience_s=20)
    answers = list(describer.describe(questions(describer, 120), never))
    undertaker.join()
    served.kill()
    assert sorted((int(answer.request.key), answer.status) for answer in answers) == [(i, "ok") for i in range(120)]
    assert [("out of order" in n, "answers again" in n) for n in describer.notices] == [(True, False), (False, True)]


def test_of_two_servers_one_that_dies_leaves_its_requests_to_the_other():
    served, died = dying(after=20)
    undertaker = threading.Thread(target=lambda: (died.wait(20), served.kill()))
    undertaker.start()
    with chat_server(slowly()) as alive:
        given = ask(served.url, alive.url, num=150, concurrency=8)
    undertaker.join()
    assert [given[i].status for i in range(150)] == ["ok"] * 150


def test_a_server_that_stays_dead_stops_the_run_after_patience():
    hang_up = {"Connection": "close"}
    with chat_server(lambda call: Reply(chat("x").payload, headers=hang_up)) as served:
        describer = describer_of(served.url, concurrency=1, patience_s=0.6)
        given = describer.describe(questions(describer, 300), never)
        assert [next(given).text for _ in range(3)] == ["x"] * 3
    start_s = time.monotonic()
    with pytest.raises(UnavailableError, match=f"0.6 s: {served.url} .*refused"):
        list(given)
    assert 0.5 < time.monotonic() - start_s < 3


def free_url() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@pytest.mark.parametrize("url", [free_url(), "http://no-such-host.invalid:1/v1"], ids=["port", "host"])
def test_a_server_that_nobody_runs_is_named_at_once(url):
    start_s = time.monotonic()
    with pytest.raises(UnavailableError, match=f"{re.escape(url)} .*--describer server:MODEL@URL"):
        ask(url, num=100, patience_s=1000)
    assert time.monotonic() - start_s < 5


def test_answers_that_had_arrived_are_given_before_the_run_stops():
    given, answered = [], threading.Semaphore(0)

    def slow_disk(describer):
        for i, request in enumerate(questions(describer, 4)):
            if i == 3:  # the refusal and, after it, two answers arrive meanwhile
                assert all(answered.acquire(timeout=20) for _ in range(3))
                time.sleep(0.5)
            yield request

    def reply(call):
        time.sleep(0 if call.image == BAD else 0.2)
        answered.release()
        return refusal(401, "revoked") if call.image == BAD else chat("A disc.")

    with chat_server(reply) as served:
        describer = describer_of(served.url, concurrency=10)
        with pytest.raises(UnavailableError):
            given.extend(describer.describe(slow_disk(describer), never))  # extend keeps what came before the error
    assert {answer.request.key for answer in given} == {"0", "1"}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (refusal(401, "no key"), "refuses access.*SIGHTWORDS_API_KEY"),
        (refusal(404, "no such model"), "knows no model 'tiny'.*It offers: llava-7b, qwen"),
        (Reply(b"", 307, {"Location": "https://elsewhere.org/v1"}), r"cannot be used.*https://elsewhere\.org"),
    ],
)
def test_a_server_that_will_not_serve_us_says_why_and_others_go_on(reply, words):
    with chat_server(lambda call: reply, models=("llava-7b", "qwen")) as one, chat_server(slowly(0.0)) as two:
        with pytest.raises(UnavailableError, match=f"{one.url} {words}"):
            ask(one.url, num=100)
        assert len(one.calls) <= 5
        describer = describer_of(one.url, two.url)
        answers = list(describer.describe(questions(describer, 50), never))
    assert [answer.status for answer in answers] == ["ok"] * 50
    (notice,) = describer.notices
    assert re.search(f"{one.url} .*go on without it", notice)


def test_of_two_servers_a_slow_one_gets_fewer_requests_and_both_get_some():
    with chat_server(slowly(0.5)) as slow, chat_server(slowly(0.01)) as fast, chat_server(slowly(0.01)) as other:
        assert len(ask(slow.url, fast.url, other.url, num=250)) == 250
    assert len(slow.calls) < 50
    assert min(len(fast.calls), len(other.calls)) > 50


SECRETS = ("sk-very-secret", "hunter22", "querysecret", "YW5uOmh1bnRlcjIy")


def test_user_password_and_query_reach_the_server_and_nothing_else(caplog, monkeypatch):
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    caplog.set_level(logging.DEBUG)
    with chat_server(lambda call: chat(f"You said {call.headers['authorization']} to {call.path}")) as served:
        describer = describer_of(served.url.replace("://", "://ann:hunter22@") + "?key=querysecret")
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
