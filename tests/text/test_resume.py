"""Runs that are interrupted, killed, or meet a full disk: nothing is lost, and the set is that of a whole run."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from sightwords.descriptions.schema import Description
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, BusyError
from sightwords.files import lock
from sightwords.text import embed as module
from sightwords.text import encode
from sightwords.text.config import EmbedConfig
from sightwords.text.embed import embed as run
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.text.encode import Trial
from sightwords.text.journal import Journal
from support.forks import Forks


def _key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _many(path: Path, count: int = 60) -> None:
    with DescriptionSet(path) as store:
        store.put([Description(_key(i), 1, 1, 0, f"bird {'x' * (i % 11)} number {i}") for i in range(count)])


def _parts(folder: Path) -> dict[str, bytes]:
    """The bytes of a set's files, without the time in its meta."""
    meta = {k: v for k, v in json.loads((folder / "meta.json").read_text()).items() if k != "created_at"}
    files = {name: (folder / name).read_bytes() for name in ("vectors.npy", "mean.npy", "index.parquet")}
    return {**files, "meta.json": json.dumps(meta).encode()}


@pytest.fixture
def interrupted(config, monkeypatch, tmp_path) -> tuple[EmbedConfig, dict[str, bytes]]:
    """A configuration whose run was interrupted midway, and the files of a run that was not."""
    _many(config.descriptions)
    monkeypatch.setattr(encode, "BLOCK", 20)
    config.batch_size = 3
    whole = replace(config, out=tmp_path / "whole")
    run(whole)
    with monkeypatch.context() as patch:
        patch.setattr(module, "encode_here", _stopping(30))
        with pytest.raises(KeyboardInterrupt):
            run(config)
    assert {block for block, _ in Journal(config.out).done} == {0, 1, 2}  # and the last one is not whole
    assert not config.out.exists()
    return config, _parts(tmp_path / "whole")


def _stopping(count: int):
    """An engine that is interrupted after some batches of the whole run."""
    left = count

    def encode_some(encoder, batches):
        nonlocal left
        for found in encode.encode_here(encoder, batches):
            if not left:
                raise KeyboardInterrupt
            left -= 1
            yield found

    return encode_some


def test_an_interrupted_run_goes_on_and_gives_the_same_bits(interrupted, monkeypatch, capsys):
    config, expected = interrupted
    encoded: list[tuple[int, int]] = []
    monkeypatch.setattr(
        module,
        "encode_here",
        lambda e, batches: encode.encode_here(e, [encoded.append((b.block, b.number)) or b for b in batches]),
    )
    done = set(Journal(config.out).done)
    capsys.readouterr()
    run(config)
    assert _parts(config.out) == expected
    assert not done & set(encoded)
    assert {block for block, _ in encoded} == {max(done)[0], 3}
    assert "Going on with the unfinished work" in capsys.readouterr().err
    assert sorted(p.name for p in config.out.parent.iterdir() if "E" in p.name) == ["E"]


def test_unfinished_work_that_is_damaged_is_made_again(interrupted, capsys):
    config, expected = interrupted
    file = config.out.parent / ".E.embedding"
    kept = file.read_bytes()
    for damage in ("cut", "noise", "UPDATE plan SET json = '[1'", "DROP TABLE plan"):
        shutil.rmtree(config.out, ignore_errors=True)
        file.write_bytes(kept[:-100] if damage == "cut" else kept[:4096] + b"\x17" * (len(kept) - 4096))
        if damage not in ("cut", "noise"):
            file.write_bytes(kept)
            with sqlite3.connect(file) as connection:
                connection.execute(damage)
        run(config)
        assert "damaged" in capsys.readouterr().err, damage
        assert _parts(config.out) == expected


def test_unfinished_work_of_other_texts_is_not_used(interrupted, capsys):
    config, expected = interrupted
    with DescriptionSet(config.descriptions) as store:
        store.put([Description(_key(0), 1, 1, 0, "bird number 0 changed")])
    run(config)
    assert "other texts" in capsys.readouterr().err
    fresh = replace(config, out=config.out.parent / "fresh")
    run(fresh)
    assert _parts(config.out) == _parts(fresh.out) != expected


def test_an_interrupted_run_keeps_the_precision_that_it_had_chosen(config, monkeypatch):
    config.precision, trials = "auto", list[int]()
    monkeypatch.setattr(module, "try_bf16", lambda encoder, texts: trials.append(len(texts)) or Trial(3, 0.9999, 2.0))
    with monkeypatch.context() as patch:
        patch.setattr(module, "encode_here", _stopping(0))
        with pytest.raises(KeyboardInterrupt):
            run(config)
    result = run(config)
    assert trials == [3]
    assert (result.meta["precision"], result.meta["precision_asked"]) == ("bf16", "auto")
    assert result.meta["trial"] == {"num_texts": 3, "smallest_cosine": 0.9999, "speedup": 2.0}
    assert "bf16 (a trial of bf16 on 3 texts: 2 times as fast, smallest cosine to fp32 0.9999)" in result.summary()
    assert run(config).skipped  # without another trial
    config.precision = "fp32"
    assert run(config).meta["precision"] == "fp32"


@pytest.mark.parametrize(
    ("error", "seen"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "No space left"), ArtifactError)]
)
def test_work_that_was_done_when_the_set_could_not_be_written_is_only_put_in_place(config, monkeypatch, error, seen):
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingSet, "write", lambda *_: (_ for _ in ()).throw(error))
        with pytest.raises(seen):
            run(config)
    monkeypatch.setattr(encode, "_encode_batch", lambda *_: pytest.fail("all was done"))
    (config.out.parent / ".E.0a1b2c3d.partial").mkdir()  # left by a kill while the set was written
    (config.out.parent / ".E2.0a1b2c3d.partial").mkdir()  # of another set
    assert run(config).meta["num_vectors"] == 3
    assert sorted(p.name for p in config.out.parent.iterdir() if "E" in p.name) == [".E2.0a1b2c3d.partial", "E"]


def test_two_processes_do_not_make_the_same_set(config):
    with (
        lock(f"embedding set {config.out.resolve()}", "busy"),
        pytest.raises(BusyError, match="Another process writes"),
    ):
        run(config)


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    with Forks("support.embeddings:embed", tmp_path_factory.mktemp("forks") / "errors") as started:
        yield started


@pytest.mark.slow
def test_a_full_disk_changes_nothing_and_a_second_run_completes(config, forks, tmp_path):
    run(config)
    before = _parts(config.out)
    _many(config.descriptions, 1500)

    def limited(size: int) -> str:
        explained = forks.errors()
        assert forks.run([str(config.descriptions), config.encoder, str(config.out), 256, size])[0] == {0}
        return forks.errors().removeprefix(explained)

    assert "What was there is unchanged and finished vectors are kept" in limited(60_000)  # 1503 vectors of 64 bytes
    assert _parts(config.out) == before
    assert "unchanged" not in limited(10_000_000)
    assert EmbeddingSet(config.out).meta["num_vectors"] == 1503
    assert sorted(p.name for p in tmp_path.iterdir() if "E" in p.name) == ["E"]


@pytest.mark.slow
def test_kills_at_any_instant_lose_nothing(config, forks, tmp_path):
    """Fifteen kill -9 at random instants, from the start of a run to the last rename."""
    _many(config.descriptions, 200)
    call = [str(config.descriptions), config.encoder]
    draw = random.Random(0)
    statuses, seen, explained = list[int](), set[str](), forks.errors()
    first, whole_s = forks.run([*call, str(tmp_path / "whole")])
    assert first == {0}
    expected = _parts(tmp_path / "whole")
    while statuses.count(-signal.SIGKILL) < 15 or forks.errors().removeprefix(explained).count("Going on with") < 3:
        status, seconds = forks.run([*call, str(config.out)], kill_after_s=draw.uniform(0, whole_s))
        statuses += status
        seen |= {path.name for path in tmp_path.iterdir()}
        # a machine that was busy before would never kill in time, and one that is busy now always before any work
        whole_s = min(whole_s, seconds) if status == {0} else 1.05 * whole_s
        assert len(statuses) < 100
        if config.out.exists():
            assert _parts(config.out) == expected
            shutil.rmtree(config.out)
    assert set(statuses) <= {0, -signal.SIGKILL}
    assert ".E.embedding" in seen
    assert forks.run([*call, str(config.out)])[0] == {0}
    assert _parts(config.out) == expected
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".E.")] == []
