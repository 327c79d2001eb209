"""The description set: nothing lost, nothing asked twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

from sightwords.descriptions.schema import DescriberInfo, Description, Prompt, Reason, Spent
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, ConfigError, UnknownNameError

A, B, C = "a" * 64, "b" * 64, "c" * 64
PLAIN = Prompt("plain", 1, "Describe this image.")
WHO = DescriberInfo("hf:tiny", "tiny", "0f3", {"temperature": 0.5})


def _one(key: str, text: str = "text", sample: int = 0, **more) -> Description:
    return Description(key, 1, 1, sample, text, **more)


def test_what_was_put_is_there_after_opening_again(store):
    whole = Description(A, 1, 1, 2, "a “bird”\n青", "rejected", "too long", 12, 7, 0.25, 1.5, 0, "**a**", 0.31)
    store.put([whole])
    with DescriptionSet(store.path) as again:
        assert list(again.descriptions(None)) == [whole]
        assert again.prompts() == {1: PLAIN}
        assert again.describers() == {1: WHO}


def test_prompts_and_describers_are_rows_of_their_own(store):
    assert store.add_prompt(PLAIN) == store.add_prompt(PLAIN) == 1
    assert store.add_prompt(Prompt("plain", 2, PLAIN.template)) == 2
    assert store.add_describer(DescriberInfo("hf:tiny", "tiny", "0f3", {"temperature": 0.5})) == 1
    assert store.add_describer(DescriberInfo("hf:tiny", "tiny", "0f3", {"temperature": 0.6})) == 2


def test_a_prompt_names_the_class_and_what_it_is_confused_with(store):
    assert not PLAIN.names_class
    near = Prompt("contrast", 1, "{class_name} and not {confused_with}, {other}?", False, {"cat": ["lynx", "fox"]})
    assert near.names_class
    assert near.text("cat") == "cat and not lynx, fox, {other}?"
    assert near.text("dog") == "dog and not other classes, {other}?"
    row = store.add_prompt(near)
    assert store.add_prompt(near) == row != store.add_prompt(Prompt("contrast", 1, near.template))
    assert store.prompts()[row] == near


def test_put_replaces_the_same_key_prompt_describer_sample_and_attempt(store):
    store.put([_one(A, "first"), _one(A, "second", 1)])
    store.put([_one(A, "changed")])
    assert [(one.sample, one.text) for one in store.descriptions()] == [(0, "changed"), (1, "second")]


def test_the_last_attempt_counts_and_the_others_are_kept(store):
    store.put([_one(A, "no", status="rejected", reason="refusal", created_at=1.0)])
    assert store.counts() == {"rejected": 1}
    store.put([_one(A, "a bird", attempt=1, created_at=2.0), _one(B, "", status="failed", reason="timeout")])
    assert [(one.text, one.attempt) for one in store.descriptions()] == [("a bird", 1)]
    assert list(store.descriptions("rejected")) == []
    assert store.counts() == store.counts(since=1.5) == {"ok": 1, "failed": 1}
    assert store.counts(2, 1) == {}
    assert [row[:3] for row in store.attempts(1, 1, [A])] == [(A, 0, 0), (A, 0, 1)]
    assert [row.text for row in store.rows(1, 1, [B, A])] == ["no", "a bird", ""]


def test_names_and_reasons_are_shown_with_an_example(store):
    store.add_images([(A, "train/a.png", "cat"), (B, "train/b.png", "dog")])
    store.add_images([(B, "train/renamed.png", "dog")])
    store.put([
        _one(A, "no", status="rejected", reason="refusal"), _one(A, "nope", 1, status="rejected", reason="refusal"),
        _one(B, "", status="failed", reason="timeout"), _one(C),
    ])  # fmt: skip
    assert store.images() == {A: ("train/a.png", "cat"), B: ("train/renamed.png", "dog")}
    assert store.reasons(1, 1) == [
        Reason("rejected", "refusal", 2, "train/a.png", "no"),
        Reason("failed", "timeout", 1, "train/renamed.png", ""),
    ]


def test_what_was_spent_counts_every_attempt_and_a_class_once(store):
    assert store.spent(1, 1) == Spent()
    tokens = {"num_prompt_tokens": 9, "num_text_tokens": 2}
    store.put([
        _one(A, "no", status="rejected", **tokens, seconds=1.0, created_at=5.0),
        _one(A, "yes", attempt=1, **tokens, seconds=2.0, created_at=8.0),
        _one(B, "", status="failed", num_prompt_tokens=99, seconds=5.0, created_at=1000.0),
        _one(C, "", status="failed", reason="unreadable image: damaged", seconds=9.0, created_at=2000.0),
    ])  # fmt: skip
    assert store.spent(1, 1) == Spent(3, 18, 4, 9, 1, 1.0 + 3.0 + 5.0)
    whole_class = store.add_prompt(Prompt("features", 1, "{class_name}?", per_class=True))
    store.add_images([(A, "a", "cat"), (B, "b", "cat"), (C, "c", "dog")])
    store.put(Description(key, whole_class, 1, 0, "x", **tokens, created_at=1.0) for key in (A, B, C))
    assert store.spent(whole_class, 1) == Spent(2, 18, 4, 9)


def test_questions_at_the_same_time_count_once_and_runs_on_other_days_apart(store):
    together = [(1000 + 0.1 * i, 5.0) for i in range(101)]  # 50 in flight at any time, for 10 s
    for day, expected in enumerate((15.0, 30.0)):
        store.put(_one(f"{day}{i:063x}", seconds=s, created_at=t + 86400 * day) for i, (t, s) in enumerate(together))
        assert store.spent(1, 1).seconds == pytest.approx(expected)


def test_a_text_for_many_images_of_several_classes_is_rejected(store):
    keys = [f"{i:064x}" for i in range(8)]
    store.add_images([(key, f"{i}.png", "cat" if i < 4 else "dog") for i, key in enumerate(keys)])
    store.put([_one(key, "a photo") for key in keys[2:6]])
    store.put([_one(key, "a cat", 1) for key in keys[:4]] + [_one(keys[0], "a photo", 2)])
    assert store.reject_same(1, 1, 5) == 0
    assert store.reject_same(1, 1, 4) == 5
    assert {one.text for one in store.descriptions()} == {"a cat"}  # all of one class, which may look alike
    assert [row.reason for row in store.reasons(1, 1)] == ["the same text for more than 4 images"]


def test_clip_scores_are_of_one_model(store):
    one = _one(A)
    store.put([one, _one(B)])
    assert store.clip_score_model == ""
    store.begin_clip_scores("clip@1")
    store.set_clip_scores([(0.25, one)])
    store.begin_clip_scores("clip@1")
    assert [row.clip_score for row in store.descriptions()] == [0.25, None]
    store.begin_clip_scores("clip@2")
    assert store.clip_score_model == "clip@2"
    assert [row.clip_score for row in store.descriptions()] == [None, None]


@pytest.fixture
def mixed(store):
    """Two prompts, two samples, scores, a name with a quote in it."""
    store.add_images([(A, "train/a.png", "cat"), (B, "train/b.png", "dog's")])
    named = store.add_prompt(Prompt("class", 1, "{class_name}?"))
    store.put([
        _one(A, "plain a", clip_score=0.3), _one(B, "plain b", clip_score=0.1), _one(B, "no", 1, status="rejected"),
        Description(A, named, 1, 0, "class a", clip_score=0.1), Description(B, named, 1, 0, "class b", clip_score=0.5),
    ])  # fmt: skip
    return store


@pytest.mark.parametrize(
    ("where", "prompts", "texts"),
    [
        (None, [], ["plain a", "class a", "plain b", "class b"]),
        (None, ["class"], ["class a", "class b"]),
        ("clip_score < 0.2", ["plain"], ["plain b"]),
        ("prompt='class' and clip_score>0.2", [], ["class b"]),
        ("clip_score > 0.2 or class_name = 'dog''s'", [], ["plain a", "plain b", "class b"]),
        ("name like '%/a.png' and sample = 0", [], ["plain a", "class a"]),
        ("describer = 'hf:tiny' and length(text) > 100", [], []),
    ],
)
def test_select_takes_what_a_condition_holds_for(mixed, where, prompts, texts):
    assert [one.text for one in mixed.select(where, prompts)] == texts


def test_an_unknown_prompt_is_answered_with_the_nearest(mixed):
    with pytest.raises(UnknownNameError, match=r"prompt 'clas'\. Did you mean: class"):
        list(mixed.select(prompts=["clas"]))


@pytest.mark.parametrize(
    "where",
    [
        "randomblob(9) = 1 AND (INSERT INTO meta VALUES (1, 1))", "1) AND (writefile('x', 'y')",
        "color = 'red'", "prompt = ", "1); DELETE FROM descriptions; --", "load_extension('x')", "prompt = 'a",
        ") or (1", "(SELECT 1) UNION SELECT 1", "key IN (DELETE FROM images)",
    ],
)  # fmt: skip
def test_a_wrong_condition_is_named_and_changes_nothing(mixed, where):
    with pytest.raises(ConfigError, match=r"condition[\s\S]*Columns: key, name, class_name, prompt, "):
        list(mixed.select(where))
    assert mixed.counts() == {"ok": 4, "rejected": 1}
    mixed.put([_one(C)])  # it can be written again


def test_an_error_while_putting_leaves_all_as_it_was(store):
    store.put([_one(A, "before")])

    def broken():
        yield _one(A, "after")
        yield _one(B, "after")
        raise RuntimeError("the describer broke")

    with pytest.raises(RuntimeError):
        store.put(broken())
    with pytest.raises(sqlite3.IntegrityError):
        store.put([_one(B), _one(C, status="splendid")])
    assert [one.text for one in store.descriptions(None)] == ["before"]
    store.put([_one(B, "and on")])
    assert len(list(store.descriptions())) == 2


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ArtifactError, match="sightwords describe"):
        DescriptionSet(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "empty.db").touch()
    with pytest.raises(ArtifactError, match="no description set"):
        DescriptionSet(tmp_path / "empty.db")


def foreign_database(path) -> bytes:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize("content", [b"not a database " * 100, b"SQLite format 3\x00" + b"\xff" * 4000, None])
def test_a_file_that_is_no_set_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "D.db"
    content = content or foreign_database(path)
    path.write_bytes(content)
    for create in (False, True):
        with pytest.raises(ArtifactError, match=r"damaged[\s\S]*--out RESCUED.db|not a description set"):
            DescriptionSet(path, create=create)
    assert path.read_bytes() == content


def test_damage_in_the_middle_is_our_own_error(store):
    store.put(_one(f"{i:064d}", "text " * 50) for i in range(2000))
    store.__exit__(None, None, None)
    data = bytearray(store.path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 60_000] = b"\xff" * 60_000
    store.path.write_bytes(data)
    with pytest.raises(ArtifactError, match="damaged"), DescriptionSet(store.path) as again:
        list(again.descriptions())


def test_a_set_can_be_made_and_written_by_several_at_once(tmp_path):
    def make(i):
        with DescriptionSet(tmp_path / "folder" / "D.db", create=True) as store:
            row = store.add_prompt(PLAIN), store.add_describer(WHO)
            store.put([_one(f"{i:064x}")])
            return row, len(list(store.descriptions()))

    with ThreadPoolExecutor(8) as pool:
        rows, counts = zip(*pool.map(make, range(32)), strict=True)
    assert set(rows) == {(1, 1)}
    assert max(counts) == 32


WRITER = """
    import resource, sys
    from pathlib import Path
    from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
    from sightwords.descriptions.store import DescriptionSet
    most_bytes, num, words = map(int, sys.argv[2:])
    with DescriptionSet(Path(sys.argv[1]), create=True) as store:
        prompt, describer = store.add_prompt(Prompt("p", 1, "")), store.add_describer(DescriberInfo("d", "d"))
        start = store.counts().get("ok", 0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        try:
            for i in range(start, num):
                store.put([Description(f"{i:064x}", prompt, describer, 0, "text " * words)])
                print(i, flush=True)
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
"""


def writer(path, most_bytes: int, num: int, words: int) -> subprocess.Popen[str]:
    arguments = [str(path), str(most_bytes), str(num), str(words)]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), *arguments], stdout=subprocess.PIPE, text=True
    )


def test_a_kill_loses_no_committed_answer(tmp_path):
    path, expected = tmp_path / "D.db", 0
    for _ in range(2):
        with writer(path, 10**9, 100_000, 50) as process:
            printed = [int(process.stdout.readline()) for _ in range(50)]
            os.kill(process.pid, signal.SIGKILL)
            printed += [int(line) for line in process.stdout.read().split("\n")[:-1]]
        assert printed[0] == expected  # the second run goes on where the first was killed
        with DescriptionSet(path) as store:
            store.check()
            keys = [one.key for one in store.descriptions()]
        assert keys[: printed[-1] + 1] == [f"{i:064x}" for i in range(printed[-1] + 1)]
        assert len(keys) - (printed[-1] + 1) in (0, 1)  # one may be committed and not printed yet
        expected = len(keys)


def test_a_full_disk_is_named_and_costs_nothing_that_was_stored(tmp_path):
    path = tmp_path / "D.db"
    said = writer(path, 300_000, 400, 500).communicate()[0].splitlines()[-1]
    assert said.startswith("ArtifactError: ")
    assert "cannot be written: the disk" in said
    assert "the same command goes on" in said
    with DescriptionSet(path) as store:
        store.check()
        assert 5 < store.counts()["ok"] < 400
    assert "Error" not in writer(path, 10**8, 400, 500).communicate()[0]
    with DescriptionSet(path) as store:
        assert [row.key for row in store.descriptions()] == [f"{i:064x}" for i in range(400)]
