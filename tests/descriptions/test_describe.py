from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describe import DescribeResult
from sightwords.descriptions.describe import describe as run
from sightwords.descriptions.describers import hf
from sightwords.descriptions.schema import Reason
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ConfigError, DataError
from sightwords.images.dataset import Problem
from sightwords.images.keys import image_key
from support.chat_server import chat, chat_server, refusal


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("SIGHTWORDS_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def out(tmp_path) -> Path:
    """Where the description set goes."""
    return tmp_path / "d.db"


def describe(photos: Path, out: Path, describer: str, **options):
    # tiny random models say nothing sensible: whatever they say is taken
    lenient = {"language": "any", "min_words": 1, "max_same": 1000, "on_cut": "keep"}
    options = {"max_new_tokens": 8, "device": "cpu", **lenient, **options}
    return run(DescribeConfig(str(photos), out=out, describer=describer, **options))


def stored(out: Path, status: str | None = "ok") -> dict[tuple[str, int], str]:
    with DescriptionSet(out) as descriptions:
        return {(row.key, row.sample): row.text for row in descriptions.descriptions(status)}


def question(call) -> str:
    """The text that was asked."""
    content = call.body["messages"][0]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def key_of(path: Path) -> str:
    return image_key(path.read_bytes())


def test_every_distinct_image_gets_one_row_and_a_second_run_does_not_even_load_the_model(
    photos, out, llava, monkeypatch
):
    train = photos / "train"
    shutil.copy(train / "bar" / "e.jpg", train / "bar" / "same.jpg")
    (train / "bar" / "cut.jpg").write_bytes((train / "bar" / "e.jpg").read_bytes()[:-300])
    result = describe(photos, out, f"hf:{llava}", batch_size=2)
    assert (result.num_ok, result.num_failed, result.num_skipped) == (5, 0, 0)
    assert [Path(problem.name).name for problem in result.problems] == ["cut.jpg"]
    assert "damaged" in result.problems[0].reason
    with DescriptionSet(out) as descriptions:
        rows = list(descriptions.descriptions())
        images, failed = descriptions.images(), list(descriptions.descriptions("failed"))
        assert [p.name for p in descriptions.prompts().values()] == ["plain"]
        assert [d.identifier for d in descriptions.describers().values()] == ["hf:tiny-llava"]
    assert {row.key for row in rows} == {key_of(path) for path in train.rglob("[a-e].*")}
    assert all(row.num_prompt_tokens > 16 and 1 <= row.num_text_tokens <= 8 and row.seconds > 0 for row in rows)
    assert images[key_of(train / "red_disc" / "a.png")][1] == "red disc"
    assert [(row.key, row.text) for row in failed] == [(key_of(train / "bar" / "cut.jpg"), "")]
    assert failed[0].reason.startswith("unreadable image: damaged")
    monkeypatch.setattr(hf.HFDescriber, "load", lambda self: pytest.fail("the model was loaded"))
    result = describe(photos, out, f"hf:{llava}", batch_size=1, precision="bf16")
    assert (result.num_ok, result.num_skipped, len(result.problems)) == (0, 5, 1)


def test_other_questions_and_more_samples_are_added_beside_what_is_there(photos, out):
    with chat_server(lambda call: chat("A picture.")) as served:
        describer = f"server:tiny@{served.url}"
        describe(photos, out, describer)
        result = describe(photos, out, describer, samples=2)
        assert (result.num_ok, result.num_skipped) == (5, 5)
        assert describe(photos, out, describer, prompt="short").num_ok == 5
        assert describe(photos, out, describer, max_new_tokens=4).num_ok == 5
    with DescriptionSet(out) as descriptions:
        assert descriptions.counts() == {"ok": 20}
        assert len(descriptions.prompts()) == 2


def test_a_run_that_dies_halfway_keeps_its_rows_and_the_next_one_asks_for_the_rest(
    photos, out, llava, monkeypatch, capsys
):
    whole = out.with_name("whole.db")
    describe(photos, whole, f"hf:{llava}", samples=2, batch_size=3)
    put, count = DescriptionSet.put, iter(range(100))

    def die_at_the_fifth(self, rows):
        if next(count) == 4:
            raise KeyboardInterrupt
        put(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(DescriptionSet, "put", die_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            describe(photos, out, f"hf:{llava}", samples=2, batch_size=3)
    assert len(stored(out, None)) == 4
    assert f"4 descriptions are stored in {out}; the same command goes on" in capsys.readouterr().err
    result = describe(photos, out, f"hf:{llava}", samples=2, batch_size=3)
    assert result.num_skipped in (3, 4)  # one was rejected and is asked again
    assert stored(out) == stored(whole)
    assert len(stored(out)) == 10


def test_prompts_name_the_readable_class_all_labels_and_what_is_confused(photos, out, tmp_path):
    (tmp_path / "beak.txt").write_text("Is this {class_name} fat?")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "confusion.csv").write_text("true \\ predicted,bar,red_disc\nbar,3,1\nred_disc,0,4\n")
    table = photos / "table.csv"
    table.write_text("image,label,split\ntrain/bar/d.png,red_disc|bar,train\ntrain/red_disc/a.png,red_disc,train\n")
    both = key_of(photos / "train" / "bar" / "d.png")

    def asked(images, **options):
        out.unlink(missing_ok=True)
        result = describe(images, out, f"server:tiny@{served.url}", **options)
        return result, stored(out)

    with chat_server(lambda call: chat(question(call))) as served:
        _, texts = asked(photos, prompt="class")
        assert texts[key_of(photos / "train" / "red_disc" / "b.jpg"), 0].count("red disc") == 2
        _, texts = asked(table, prompt="class")
        assert {"bar, red disc", "red disc, bar"} & set(re.findall(r"bar, red disc|red disc, bar", texts[both, 0]))
        result, texts = asked(photos, prompt_file=tmp_path / "beak.txt")
        assert result.prompt == "beak"
        assert set(texts.values()) == {"Is this bar fat?", "Is this red disc fat?"}
        _, texts = asked(photos, prompt="contrast", confusions=tmp_path / "run")
        assert "easily mistaken for: red disc." in texts[both, 0]


def test_the_class_prompt_on_unlabeled_images_is_refused_before_anything_is_asked(photos, out):
    table = photos / "table.csv"
    table.write_text("image,label,split\ntrain/bar/d.png,bar,train\ntrain/red_disc/a.png,,train\n")
    with chat_server(lambda call: chat("x")) as served:
        with pytest.raises(DataError, match=r"1 of 2 images have no label.*a\.png"):
            describe(table, out, f"server:tiny@{served.url}", prompt="class")
        assert not served.calls
        assert describe(table, out, f"server:tiny@{served.url}").num_ok == 2


def test_the_split_says_which_images(images, out):
    with chat_server(lambda call: chat("x")) as served:
        describer = f"server:tiny@{served.url}"
        assert describe(images, out, describer).num_ok == 24
        assert describe(images, out, describer, split="all").num_skipped == 24
        assert describe(images, out, describer, split="val").num_skipped == 12
        assert len(served.calls) == 36
        assert describe(images, out.with_name("few.db"), describer, limit=3).num_ok == 3


def test_no_secret_is_ever_in_the_file(photos, out, monkeypatch):
    monkeypatch.setenv("SIGHTWORDS_API_KEY", "sk-very-secret")

    def echo(call):
        said = f"{call.headers['authorization']} {call.path}"
        return refusal(400, said) if len(served.calls) % 2 else chat(said)

    with chat_server(echo) as served:
        describe(photos, out, f"server:tiny@{served.url.replace('://', '://ann:hunter22@')}?key=querysecret")
        describe(photos, out, f"server:tiny@{served.url}")
    written = b"".join(path.read_bytes() for path in out.parent.glob("d.db*"))
    assert b"server:tiny" in written
    assert b"127.0.0.1" not in written  # where a model is served is no part of who answered
    for secret in (b"sk-very-secret", b"hunter22", b"querysecret", b"YW5uOmh1bnRlcjIy"):
        assert secret not in written


def test_a_pilot_forecasts_and_shows_the_sample_and_is_not_asked_again(images, out, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text("currency: EUR\ntiny: {input: 1000, output: 2000}\n")
    with chat_server(lambda call: chat(f"A <b>picture</b> number {len(served.calls)}.")) as served:
        describer = f"server:tiny@{served.url}"
        pilot = describe(images, out, describer, pilot=8, prices=prices)
        assert (pilot.num_ok, len(served.calls)) == (8, 8)
        lines = "\n".join(pilot.forecast)
        assert "16 that remain" in lines
        assert "all 24" in lines
        assert "0.31 EUR" in lines  # 24 x (7 x 1000 + 3 x 2000) / 1e6
        page = pilot.page.read_text()
        assert page.count("data:image/jpeg") == 8
        assert "A &lt;b&gt;picture&lt;/b&gt; number 3." in page
        assert "Look at the sample" in pilot.summary()
        assert pilot.next_command == ""
        with DescriptionSet(out) as store:
            described = Counter(store.images()[row.key][1] for row in store.descriptions())
        assert set(described.values()) in ({2, 3}, {2})  # of each class its share
        assert describe(images, out, describer).num_ok == 16
        assert len(served.calls) == 24


def test_class_names_alone_are_a_source_for_controls(images, out):
    assert describe(images, out, "class_name").num_ok == 24
    with DescriptionSet(out) as store:
        assert {row.text for row in store.descriptions()} == {name for _, name in store.images().values()}
        assert [info.identifier for info in store.describers().values()] == ["class_name"]


def test_the_summary_says_what_was_written_what_not_and_why():
    result = DescribeResult(Path("my set.db"), "server:m", "plain", 2, 1, 2, num_skipped=4, seconds=75, stopped="Full.")
    result.reasons = [Reason("failed", "timeout", 2, "d.png", "")]
    result.reasons += [Reason("rejected", f"reason {i}", 11, "c.png", "I'm sorry,\nbut " * 9) for i in range(14)]
    result.problems = [Problem(f"{i}.jpg", "damaged") for i in range(9)]
    lines = result.summary().splitlines()
    for said in ("2 descriptions", "server:m", "prompt plain", "my set.db", "1 min 15 s", "4 were there"):
        assert said in lines[0]
    assert lines[2:4] == [
        "      2  failed    timeout    d.png",
        "     11  rejected  reason 0   c.png: I'm sorry, but I'm sorry, but I'm sorry, but I'm sorry, b...",
    ]
    text = "\n".join(lines)
    assert "the 2 that failed" in text
    assert "--retry-failed the 1" in text
    assert "Full. Everything that arrived is stored" in text
    assert "9, such as\n  0.jpg: damaged" in text
    assert result.next_command == "sightwords embed 'my set.db' --out 'my set-embeddings'"


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"samples": 0}, "--samples is 0"),
        ({"max_side": 8}, "--max-side is 8"),
        ({"temperature": 0.0}, "--temperature is 0.0"),
        ({"split": "test"}, "--split is 'test'"),
        ({"prompt": "short", "prompt_file": Path("mine.txt")}, "--prompt-file"),
        ({"describer": "class_name", "samples": 2}, "--samples 1"),
        ({"max_cost": 1.0}, "--prices"),
    ],
)
def test_a_value_out_of_range_is_named_by_its_flag(options, flag):
    with pytest.raises(ConfigError, match=flag):
        DescribeConfig("photos", out=Path("d.db"), **options)
