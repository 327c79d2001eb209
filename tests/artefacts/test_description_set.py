"""The description set: nothing lost, nothing asked twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest

from sightwords.artefacts.description_set import (
    DescriberInfo,
    Description,
    DescriptionSet,
    Prompt,
    export_rows,
    write_rows,
)
from sightwords.errors import ArtefactError

A, B, C = "a" * 64, "b" * 64, "c" * 64
PLAIN = Prompt("plain", 1, "Describe this image.")
WHO = DescriberInfo("hf:tiny", "tiny", "0f3", {"temperature": 0.5})


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "folder" / "D.db"


@pytest.fixture
def store(path):
    with DescriptionSet(path, create=True) as opened:
        opened.add_prompt(PLAIN)
        opened.add_describer(WHO)
        yield opened


def _one(key: str, text: str = "text", sample: int = 0, **more) -> Description:
    return Description(key, 1, 1, sample, text, **more)


def test_what_was_put_is_there_after_opening_again(store, path):
    whole = Description(A, 1, 1, 2, "a “bird”\n青", "rejected", "too long", 12, 7, 0.25, 1.5)
    store.put([whole])
    with DescriptionSet(path) as again:
        assert list(again.descriptions(None)) == [whole]
        assert again.prompts() == {1: PLAIN}
        assert again.describers() == {1: WHO}


def test_prompts_and_describers_are_rows_of_their_own(store):
    assert store.add_prompt(PLAIN) == store.add_prompt(PLAIN) == 1
    assert store.add_prompt(Prompt("plain", 2, PLAIN.template)) == 2
    assert store.add_describer(DescriberInfo("hf:tiny", "tiny", "0f3", {"temperature": 0.5})) == 1
    assert store.add_describer(DescriberInfo("hf:tiny", "tiny", "0f3", {"temperature": 0.6})) == 2


def test_a_prompt_names_the_class_or_not():
    assert not PLAIN.names_class
    named = Prompt("class", 1, "What does this {class_name} look like? {other}")
    assert named.names_class
    assert named.text("great tit") == "What does this great tit look like? {other}"


def test_put_replaces_the_same_key_prompt_describer_and_sample(store):
    store.put([_one(A, "first"), _one(A, "second", 1)])
    store.put([_one(A, "changed")])
    assert [(one.sample, one.text) for one in store.descriptions()] == [(0, "changed"), (1, "second")]


def test_descriptions_come_in_the_order_of_keys(store):
    store.add_prompt(Prompt("short", 1, ""))
    store.put([_one(C), _one(A, sample=1), Description(A, 2, 1, 0, "x"), _one(A), _one(B, status="failed")])
    order = [(one.key, one.prompt, one.sample) for one in store.descriptions()]
    assert order == [(A, 1, 0), (A, 1, 1), (A, 2, 0), (C, 1, 0)]


def test_answered_is_what_need_not_be_asked_again(store):
    other = store.add_prompt(Prompt("short", 1, ""))
    store.put(
        [_one(A), _one(A, status="rejected", sample=1), _one(B, "", status="failed"), Description(C, other, 1, 0, "x")]
    )
    assert store.answered(1, 1) == {(A, 0), (A, 1)}
    assert store.answered(1, 1, retry_failed=True) == {(A, 0)}
    assert store.answered(other, 1) == {(C, 0)}
    assert store.answered(1, 2) == set()


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


def test_counts_reasons_and_images(store):
    store.add_images([(A, "train/a.png", "cat"), (B, "train/b.png", "dog")])
    store.add_images([(B, "train/renamed.png", "dog")])
    store.put([
        _one(A, "no", status="rejected", reason="refusal"), _one(A, "nope", 1, status="rejected", reason="refusal"),
        _one(B, "", status="failed", reason="timeout"), _one(C),
    ])  # fmt: skip
    assert store.counts() == {"ok": 1, "rejected": 2, "failed": 1}
    assert store.images() == {A: ("train/a.png", "cat"), B: ("train/renamed.png", "dog")}
    assert store.reasons() == [("rejected", "refusal", 2, "nope"), ("failed", "timeout", 1, "train/renamed.png")]


def test_fingerprint_follows_texts_and_nothing_else(store, tmp_path):
    store.put([_one(A, "one", created_at=1.0), _one(B, "two", created_at=2.0)])
    before = store.fingerprint()
    store.put([_one(A, "one", created_at=99.0, seconds=5.0, num_text_tokens=3), _one(C, "", status="failed")])
    store.add_images([(A, "name", "class")])
    assert store.fingerprint() == before
    with DescriptionSet(tmp_path / "other.db", create=True) as other:  # row ids differ, contents do not
        other.add_prompt(Prompt("unused", 1, ""))
        prompt, describer = other.add_prompt(PLAIN), other.add_describer(WHO)
        other.put([Description(key, prompt, describer, 0, text) for key, text in ((B, "two"), (A, "one"))])
        assert other.fingerprint() == before
    store.put([_one(A, "One")])
    changed = store.fingerprint()
    assert changed != before
    store.put([_one(A, "one"), _one(A, "one", sample=1)])
    assert store.fingerprint() not in (before, changed)


@pytest.mark.parametrize("content", [b"not a database " * 100, b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "D.db"
    path.write_bytes(content)
    for create in (False, True):
        with pytest.raises(ArtefactError, match="not a readable description set"):
            DescriptionSet(path, create=create)
    assert path.read_bytes() == content


def test_a_truncated_file_is_an_error_of_ours(store, path):
    store.put([_one(f"{i:064x}", "long text " * 50) for i in range(200)])
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store._connection.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(ArtefactError), DescriptionSet(path) as damaged:
        list(damaged.descriptions(None))
        damaged.fingerprint()


def test_a_database_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (a)")
    connection.commit()
    connection.close()
    with pytest.raises(ArtefactError, match=r"not a description set of version 1 \(found 0\)"):
        DescriptionSet(path, create=True)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ArtefactError, match="sightwords describe"):
        DescriptionSet(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_two_writers_wait_for_each_other(store, path):
    with DescriptionSet(path) as other:
        for i in range(20):
            (store if i % 2 else other).put([_one(f"{i:064x}")])
        assert len(list(store.descriptions())) == len(list(other.descriptions())) == 20


WRITER = """
    import sys
    from pathlib import Path
    from sightwords.artefacts.description_set import *
    with DescriptionSet(Path(sys.argv[1]), create=True) as store:
        prompt, describer = store.add_prompt(Prompt("p", 1, "")), store.add_describer(DescriberInfo("d", "d"))
        done = store.answered(prompt, describer)
        for i in range(len(done), 100_000):
            store.put([Description(f"{i:064x}", prompt, describer, 0, "text " * 50)])
            print(i, flush=True)
"""


def test_a_kill_loses_no_committed_answer(path):
    expected = 0
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(50)]
        os.kill(writer.pid, signal.SIGKILL)
        told += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
        writer.wait()
        writer.stdout.close()
        assert told[0] == expected  # the second run goes on where the first was killed
        with DescriptionSet(path) as store:
            keys = [one.key for one in store.descriptions()]
            assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert keys[: told[-1] + 1] == [f"{i:064x}" for i in range(told[-1] + 1)]
        assert len(keys) - (told[-1] + 1) in (0, 1)  # one may be committed and not told yet
        expected = len(keys)


def test_export_spells_prompt_and_describer_out(store, tmp_path):
    store.add_images([(A, "train/a.png", "cat")])
    store.put(
        [_one(A, 'a "red"\nbird', created_at=1.5), _one(B, "", status="failed", reason="timeout", created_at=2.5)]
    )
    records = list(export_rows(store))
    assert (records[0]["name"], records[0]["class_name"], records[0]["prompt"]) == ("train/a.png", "cat", "plain")
    assert json.loads(records[0]["parameters"]) == {"temperature": 0.5}
    assert [record["status"] for record in export_rows(store, "ok")] == ["ok"]
    for suffix in (".jsonl", ".parquet", ".csv"):
        write_rows(records, tmp_path / f"e{suffix}")
    assert [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()] == records
    assert pyarrow.parquet.read_table(tmp_path / "e.parquet").to_pylist() == records
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    assert pyarrow.csv.read_csv(tmp_path / "e.csv", parse_options=options)["text"].to_pylist() == ['a "red"\nbird', ""]
    with pytest.raises(ArtefactError, match="Allowed endings"):
        write_rows(records, tmp_path / "e.xlsx")
    assert not (tmp_path / "e.xlsx").exists()


def test_a_foreign_database_is_refused_and_left_as_it_was(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ArtefactError, match="not a description set"):
        DescriptionSet(path, create=True)
    assert path.read_bytes() == before


def test_an_empty_file_is_no_description_set(tmp_path):
    (tmp_path / "empty.db").touch()
    with pytest.raises(ArtefactError, match="no description set"):
        DescriptionSet(tmp_path / "empty.db")


def test_damage_in_the_middle_is_our_own_error(tmp_path):
    path = tmp_path / "d.db"
    with DescriptionSet(path, create=True) as store:
        prompt, describer = store.add_prompt(Prompt("p", 1, "t")), store.add_describer(DescriberInfo("d", "m"))
        store.put(Description(f"{i:064d}", prompt, describer, 0, "text " * 50) for i in range(2000))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 60_000] = b"\xff" * 60_000
    path.write_bytes(data)
    with pytest.raises(ArtefactError, match="damaged"), DescriptionSet(path) as store:
        list(store.descriptions())
