"""The server describer against a real HTTP server that misbehaves: everything is asked again that can be, and told."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from sightwords.descriptions.describers.server import server_pool
from sightwords.errors import UnavailableError
from support.ask_server import ask, describer_of, encoded, never, questions
from support.chat_server import ChatServer, Reply, chat, chat_server, refusal
from support.images import draw


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """No test waits long; no key of the developer's."""
    monkeypatch.setattr(server_pool, "FIRST_PAUSE_S", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("SIGHTWORDS_API_KEY", raising=False)


BAD = encoded(draw("disc", 2))
TESTS = Path(__file__).parents[3]


def others_answered(given: dict, bad: int = 2) -> bool:
    return all(answer.status == "ok" for i, answer in given.items() if i != bad)


# faults of one request


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (refusal(500, "boom"), "the server failed: 500: boom"),
        (refusal(503, "loading"), "the server failed: 503: loading"),
        (refusal(408, "slow"), "the server failed: 408: slow"),
        (Reply(None), r"the connection was lost \(.+\)"),
        (Reply(chat("A disc").payload, num_sent=20), r"the connection was lost \(.+\)"),
        (Reply(b"{broken"), "cannot be understood .it is no JSON"),
        (Reply(b"\xff\xfe"), "cannot be understood .it is no JSON"),
        (Reply({"choices": []}), "cannot be understood .no choices"),
        (Reply({"choices": [{}]}), "cannot be understood .no choices"),
        (Reply(["what"]), "cannot be understood .no choices"),
        (Reply({"choices": [{"message": {"content": 5}}]}), "cannot be understood .its content is no text"),
        (Reply({"error": {"message": "upstream died", "code": 502}}), "the server failed: 502: upstream died"),
        (chat("word " * 1_000_000), "longer than 4,194,304 bytes"),
    ],
)
def test_a_fault_that_lasts_fails_one_image_after_several_tries(reply, reason):
    with chat_server(lambda call: reply if call.image == BAD else chat("A disc.")) as served:
        given = ask(served.url, num=5)
    assert len(given) == 5
    assert others_answered(given)
    assert given[2].status == "failed"
    assert re.search(reason, given[2].reason), given[2].reason
    assert given[2].reason.endswith(", the last of 5 tries")
    assert sum(call.image == BAD for call in served.calls) == 5


@pytest.mark.parametrize("fault", [refusal(500, "x"), Reply(None), Reply(b"{"), Reply({"choices": []})])
def test_a_fault_that_passes_is_not_seen(fault):
    def reply(call):
        return fault if sum(other.image == call.image for other in served.calls) < 3 else chat("A disc.")

    with chat_server(reply) as served:
        given = ask(served.url, num=3, patience_s=30)
    assert [given[i].text for i in range(3)] == ["A disc."] * 3
    assert len(served.calls) == 9


def test_a_request_that_hangs_fails_alone_after_the_timeout():
    release = threading.Event()

    def reply(call):
        if call.image == BAD:
            release.wait(20)
        return chat("A disc.")

    with chat_server(reply) as served:
        start_s = time.monotonic()
        given = ask(served.url, num=5, timeout_s=0.3)
        release.set()
    assert others_answered(given)
    assert given[2].reason == "no answer within 0.3 s, the last of 5 tries"
    assert time.monotonic() - start_s < 5


def test_an_answer_that_drips_is_cut_off_at_the_timeout():
    """The time limit holds for the whole answer, not for each of its bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip(connection):
            connection.recv(10**6)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while True:
                time.sleep(0.05)
                connection.sendall(b" ")

        def serve():
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=swallow(drip), args=(connection,), daemon=True).start()

        threading.Thread(target=swallow(serve), daemon=True).start()
        start_s = time.monotonic()
        given = ask(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", timeout_s=0.3)
    assert given[0].reason.startswith("no answer within 0.3 s")
    assert time.monotonic() - start_s < 5


def swallow(function):
    def quiet(*args):
        with suppress(OSError):
            function(*args)

    return quiet


def test_a_long_answer_is_handed_on_for_others_to_judge():
    text = "word " * 80_000
    with chat_server(lambda call: chat(text)) as served:
        assert ask(served.url)[0].text == text


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (chat(None), ""),
        (chat(""), ""),
        (chat(None, refusal="I can't help with that."), "I can't help with that."),
        (chat([{"type": "text", "text": "A "}, {"type": "text", "text": "disc."}]), "A disc."),
    ],
)
def test_content_of_other_shapes_is_an_answer(reply, text):
    with chat_server(lambda call: reply) as served:
        answer = ask(served.url)[0]
    assert (answer.status, answer.text) == ("ok", text)


def test_an_answer_that_the_limit_cut_is_marked():
    with chat_server(lambda call: chat("A long", "length")) as served:
        assert ask(served.url)[0].cut_at == 3


# refusals of one request


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_image_that_is_refused_is_rejected_for_good_and_asked_once(status):
    with chat_server(lambda call: refusal(status, "too hot") if call.image == BAD else chat("A disc.")) as served:
        given = ask(served.url, num=5)
    assert others_answered(given)
    assert (given[2].status, given[2].reason) == ("rejected", f"refused: {status}: too hot")
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


# parameters that a server refuses


def openai_words(name: str) -> Reply:
    words = f"Unsupported parameter: '{name}' is not supported with this model."
    return Reply({"error": {"message": words, "param": name, "code": "unsupported_parameter"}}, 400)


def fastapi_words(name: str) -> Reply:
    detail = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
    return Reply({"detail": [detail]}, 422)


@pytest.mark.parametrize("words", [openai_words, fastapi_words])
@pytest.mark.parametrize("refused", [["max_tokens"], ["seed"], ["temperature"], ["max_tokens", "temperature", "seed"]])
def test_a_parameter_that_the_server_refuses_is_left_out_from_then_on(words, refused):
    def reply(call):
        found = [name for name in refused if name in call.body]
        return words(found[0]) if found else chat("A disc.")

    with chat_server(reply) as served:
        describer = describer_of(served.url)
        answers = list(describer.describe(questions(describer, 30), never))
    assert {answer.status for answer in answers} == {"ok"}
    assert len(describer.notices) == len(refused)
    assert all(name in describer.notices[i] or "greedy" in describer.notices[i] for i, name in enumerate(refused[:1]))
    last = served.calls[-1].body
    assert not set(refused) & set(last)
    assert last.get("max_tokens", last.get("max_completion_tokens")) == 9
    assert len(served.calls) <= 30 + 4 * len(refused)  # at most those that were open when it was found out


def test_a_parameter_whose_value_does_not_fit_this_image_is_a_refusal():
    words = "'max_tokens' is too large: 9. The maximum context length is 2048 tokens and your request has 2040."
    with chat_server(lambda call: refusal(400, words) if call.image == BAD else chat("A disc.")) as served:
        describer = describer_of(served.url)
        answers = list(describer.describe(questions(describer, 5), never))
    assert sum(answer.status == "rejected" for answer in answers) == 1
    assert not describer.notices


# overload


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honored_for_the_whole_server(status):
    times_s = []

    def reply(call):
        times_s.append(time.monotonic())
        return refusal(status, "busy", retry_after="1") if len(times_s) == 1 else chat("A disc.")

    with chat_server(reply) as served:
        given = ask(served.url, num=12, concurrency=1)
    assert len(given) == 12
    assert others_answered(given)
    assert 0.95 <= times_s[1] - times_s[0] < 1.6
    assert len(times_s) == 13


def test_retry_after_may_be_a_date():
    times_s = []

    def reply(call):
        times_s.append(time.monotonic())
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        return refusal(429, "busy", retry_after=until) if len(times_s) == 1 else chat("A disc.")

    with chat_server(reply) as served:
        assert ask(served.url)[0].status == "ok"
    assert 0.9 <= times_s[1] - times_s[0] < 2.7  # a date has whole seconds


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
        given = ask(served.url, num=200, concurrency=64)
    assert len(given) == 200
    assert {answer.status for answer in given.values()} == {"ok"}
    assert len(served.calls) < 400


def test_endless_overload_ends_with_patience_and_the_servers_words():
    with (
        chat_server(lambda call: refusal(429, "quota used up", retry_after="3600")) as served,
        pytest.raises(UnavailableError, match=r"No server has answered for 0.5 s: .*429: quota used up"),
    ):
        start_s = time.monotonic()
        ask(served.url, num=50, patience_s=0.5)
    assert time.monotonic() - start_s < 3
    assert len(served.calls) <= 8


# the server's death


def test_a_server_that_dies_and_comes_back_loses_nothing():
    """Killed with requests open, started again on the same port a second later."""
    died = threading.Event()

    def reply(call):
        if len(served.calls) == 40:
            died.set()
        time.sleep(0.02)
        return chat("A disc.")

    served = ChatServer(reply)

    def die_and_come_back():
        died.wait(20)
        served.kill()
        time.sleep(1)
        served.start()

    served.start()
    undertaker = threading.Thread(target=die_and_come_back)
    undertaker.start()
    describer = describer_of(served.url, concurrency=16, patience_s=20)
    answers = list(describer.describe(questions(describer, 120), never))
    undertaker.join()
    served.kill()
    assert sorted(int(answer.request.key) for answer in answers) == list(range(120))
    assert {answer.status for answer in answers} == {"ok"}
    assert re.search("is out of order .*; it is tried again", describer.notices[0])
    assert describer.notices[1].endswith("answers again.")
    assert len(describer.notices) == 2


def test_a_server_that_stays_dead_stops_the_run_after_patience():
    hang_up = {"Connection": "close"}
    with chat_server(lambda call: Reply(chat("x").payload, headers=hang_up)) as served:
        describer = describer_of(served.url, concurrency=1, patience_s=0.6)
        given = describer.describe(questions(describer, 300), never)
        assert [next(given).text for _ in range(3)] == ["x"] * 3
    start_s = time.monotonic()
    with pytest.raises(UnavailableError, match=f"No server has answered for 0.6 s: {served.url} .*refused"):
        list(given)
    assert 0.5 < time.monotonic() - start_s < 3


def test_a_server_that_fails_everything_stops_the_run_after_patience():
    with (
        chat_server(lambda call: refusal(500, "out of memory")) as served,
        pytest.raises(UnavailableError, match=r"500: out of memory"),
    ):
        ask(served.url, num=500, concurrency=64, patience_s=0.5)
    assert len(served.calls) < 300


def free_url() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def test_a_server_that_nobody_runs_is_named_at_once():
    url = free_url()
    start_s = time.monotonic()
    with pytest.raises(UnavailableError, match=f"No server answers at {url} .*refused.*--describer server:MODEL@URL"):
        ask(url, num=100, patience_s=1000)
    assert time.monotonic() - start_s < 2


def test_a_host_without_an_address_is_named_at_once():
    with pytest.raises(UnavailableError, match=r"No server answers at http://no-such-host\.invalid:1/v1"):
        ask("http://no-such-host.invalid:1/v1")


def test_answers_that_had_arrived_are_given_before_the_run_stops():
    given = []

    def slow_disk(describer):
        for i, request in enumerate(questions(describer, 4)):
            time.sleep(0.6 if i == 3 else 0)  # the refusal and, after it, two answers arrive meanwhile
            yield request

    def reply(call):
        time.sleep(0 if call.image == BAD else 0.2)
        return refusal(401, "revoked") if call.image == BAD else chat("A disc.")

    with chat_server(reply) as served:
        describer = describer_of(served.url, concurrency=10)
        with pytest.raises(UnavailableError):
            given.extend(describer.describe(slow_disk(describer), never))  # extend keeps what came before the error
    assert {answer.request.key for answer in given} == {"0", "1"}


# a server that will not serve us


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_key_stops_the_run_and_is_not_repeated(status, monkeypatch):
    monkeypatch.setenv("SIGHTWORDS_API_KEY", "sk-very-secret")
    with chat_server(lambda call: refusal(status, f"bad key {call.headers['authorization']}")) as served:
        with pytest.raises(UnavailableError, match=f"{served.url} refuses access.*SIGHTWORDS_API_KEY") as caught:
            ask(served.url, num=100)
        assert served.calls[0].headers["authorization"] == "Bearer sk-very-secret"
        assert len(served.calls) <= 5
    assert "sk-very-secret" not in str(caught.value)


def test_an_unknown_model_is_answered_with_those_on_offer():
    with (
        chat_server(lambda call: refusal(404, "no such model"), models=("llava-7b", "qwen")) as served,
        pytest.raises(UnavailableError, match=r"no model 'tiny'.*It offers: llava-7b, qwen"),
    ):
        ask(served.url)


def test_an_address_that_sends_us_elsewhere_is_told_and_not_followed():
    elsewhere = {"Location": "https://elsewhere.org/v1"}
    with (
        chat_server(lambda call: Reply(b"", 307, elsewhere)) as served,
        pytest.raises(UnavailableError, match=r"cannot be used.*https://elsewhere\.org/v1; name that address"),
    ):
        ask(served.url)


# several servers


def test_two_servers_share_the_work():
    def reply(call):
        time.sleep(0.01)
        return chat("x")

    with chat_server(reply) as one, chat_server(reply) as two:
        assert len(ask(one.url, two.url, num=100)) == 100
    assert min(len(one.calls), len(two.calls)) > 30


def test_of_two_servers_a_dead_one_is_told_and_left_out():
    dead = free_url()
    with chat_server(lambda call: chat("x")) as alive:
        describer = describer_of(dead, alive.url)
        answers = list(describer.describe(questions(describer, 50), never))
    assert {answer.status for answer in answers} == {"ok"}
    assert len(alive.calls) == 50
    (notice,) = describer.notices
    assert notice.startswith(f"The server at {dead} is out of order (")


def test_of_two_servers_one_that_dies_leaves_its_requests_to_the_other():
    died = threading.Event()

    def reply(call):
        if len(dying.calls) == 20:
            died.set()
        time.sleep(0.02)
        return chat("x")

    dying = ChatServer(reply)
    dying.start()
    undertaker = threading.Thread(target=lambda: (died.wait(20), dying.kill()))
    undertaker.start()
    with chat_server(reply) as alive:
        describer = describer_of(dying.url, alive.url, concurrency=8)
        answers = list(describer.describe(questions(describer, 150), never))
    undertaker.join()
    assert sorted(int(answer.request.key) for answer in answers) == list(range(150))
    assert {answer.status for answer in answers} == {"ok"}


def test_of_two_servers_a_slow_one_gets_fewer_requests():
    def slow(call):
        time.sleep(0.5)
        return chat("slow")

    def fast(call):
        time.sleep(0.01)
        return chat("fast")

    with chat_server(slow) as one, chat_server(fast) as two:
        given = ask(one.url, two.url, num=150)
    assert len(given) == 150
    assert len(one.calls) < 50 < len(two.calls)


def test_a_fault_at_one_server_is_asked_again_at_the_other():
    with chat_server(lambda call: refusal(500, "broken")) as one, chat_server(lambda call: chat("x")) as two:
        given = ask(one.url, two.url, num=20)
    assert {answer.status for answer in given.values()} == {"ok"}


@pytest.mark.parametrize("reply", [refusal(401, "no key"), refusal(404, "no model")])
def test_of_two_servers_one_that_will_not_serve_us_is_left_out_with_a_notice(reply):
    with chat_server(lambda call: reply) as one, chat_server(lambda call: chat("x")) as two:
        describer = describer_of(one.url, two.url)
        answers = list(describer.describe(questions(describer, 50), never))
    assert {answer.status for answer in answers} == {"ok"}
    (notice,) = describer.notices
    assert notice.startswith(f"The server at {one.url} ")
    assert notice.endswith("The other servers go on without it.")
    assert len(one.calls) <= 5


def test_where_no_server_will_serve_us_each_says_why():
    with (
        chat_server(lambda call: refusal(401, "no key")) as one,
        chat_server(lambda call: refusal(404, "no model")) as two,
        pytest.raises(UnavailableError) as caught,
    ):
        ask(one.url, two.url, num=50)
    assert f"The server at {one.url} refuses access" in str(caught.value)
    assert f"The server at {two.url} knows no model" in str(caught.value)


def test_too_few_file_descriptors_mean_fewer_requests_at_once_and_no_loss():
    """A limit of open files below --concurrency, as some systems have it, in a process of its own."""
    code = """
import resource, sys
from support.ask_server import ask
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
given = ask(sys.argv[1], num=300, concurrency=256, patience_s=30)
print(len(given), {answer.status for answer in given.values()})
"""

    def reply(call):
        time.sleep(0.05)
        return chat("x")

    with chat_server(reply) as served:
        command = [sys.executable, "-c", code, served.url]
        done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS, timeout=60)
    assert done.stdout == "300 {'ok'}\n", done.stderr
    assert 16 < served.most_open < 40


def test_a_refusal_is_a_sign_of_life():
    """The silence that a 429 began ends with it, so patience does not."""

    def reply(call):
        time.sleep(0.1)
        return refusal(429, "busy") if len(served.calls) == 1 else refusal(400, "too hot")

    with chat_server(reply) as served:
        given = ask(served.url, num=10, concurrency=1, patience_s=0.5)
    assert [given[i].status for i in range(10)] == ["rejected"] * 10
