"""Runs that are interrupted, killed, or meet a full disk: nothing is lost, and the set is that of a whole run."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from sightwords.descriptions.schema import Description
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import BusyError
from sightwords.files import lock
from sightwords.text import embed as module
from sightwords.text import encode
from sightwords.text.config import EmbedConfig
from sightwords.text.embed import embed as run
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.text.precision import Precision, Trial
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
    monkeypatch.setattr(encode, "_CPU_BLOCK", 20)
    config.batch_size = 3
    whole = replace(config, out=tmp_path / "whole")
    seen: list[int] = []
    encode_batch = encode.encode_batch

    def failing(encoder, batch):
        seen.append(batch.number)
        if len(seen) > 30:
            raise KeyboardInterrupt
        return encode_batch(encoder, batch)

    run(whole)
    with monkeypatch.context() as patch:
        patch.setattr(encode, "encode_batch", failing)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    journal = [json.loads(line) for line in (config.out.parent / ".E.embedding" / "journal").open()]
    assert len({line["block"] for line in journal}) > 1
    assert "batch" in journal[-1]  # a block was begun
    assert not config.out.exists()
    assert (config.out.parent / ".E.embedding").is_dir()
    return config, _parts(tmp_path / "whole")


def test_an_interrupted_run_goes_on_and_gives_the_same_bits(interrupted, monkeypatch, capsys):
    config, expected = interrupted
    seen: list[int] = []
    encode_batch = encode.encode_batch
    monkeypatch.setattr(encode, "encode_batch", lambda e, batch: (seen.append(1), encode_batch(e, batch))[1])
    capsys.readouterr()
    run(config)
    assert _parts(config.out) == expected
    shutil.rmtree(config.out)
    resumed = len(seen)
    run(config)
    assert 0 < resumed <= (len(seen) - resumed) - 20  # of 30, some of which were still in flight
    assert "Going on with the unfinished work" in capsys.readouterr().err
    assert sorted(p.name for p in config.out.parent.iterdir() if "E" in p.name) == ["E"]


def test_unfinished_work_of_other_texts_is_not_used(interrupted, capsys):
    config, expected = interrupted
    with DescriptionSet(config.descriptions) as store:
        store.put([Description(_key(0), 1, 1, 0, "bird number 0 changed")])
    run(config)
    assert "of other texts or another encoder; starting afresh" in capsys.readouterr().err
    fresh = EmbedConfig(
        config.descriptions, out=config.out.parent / "fresh", encoder=config.encoder, batch_size=3, precision="fp32"
    )
    run(fresh)
    assert _parts(config.out) == _parts(fresh.out) != expected


def test_damaged_work_is_noticed(interrupted, capsys):
    config, expected = interrupted
    vectors = config.out.parent / ".E.embedding" / "vectors.npy"
    vectors.write_bytes(vectors.read_bytes()[:-100])
    run(config)
    assert "damaged" in capsys.readouterr().err
    assert _parts(config.out) == expected


def test_an_interrupted_run_keeps_the_precision_that_it_had_chosen(config, monkeypatch):
    config.precision, trials = "auto", list[int]()

    def chosen(encoder, texts, device):
        trials.append(len(texts))
        return encoder.cast("bf16"), Precision("bf16", "auto", Trial(3, 0.9999, 2.0))

    monkeypatch.setattr(module, "choose", chosen)
    encode_texts = module.encode_texts

    def stopped(*arguments, **keywords):
        encode_texts(*arguments, **keywords)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "encode_texts", stopped)
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


def test_work_that_was_done_when_the_process_was_killed_is_only_put_in_place(config, monkeypatch):
    write = EmbeddingSet.write
    monkeypatch.setattr(EmbeddingSet, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run(config)
    monkeypatch.setattr(EmbeddingSet, "write", write)
    monkeypatch.setattr(encode, "encode_batch", lambda *_: pytest.fail("all was done"))
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


@pytest.fixture
def forks(tmp_path):
    with Forks("support.embeddings:embed", tmp_path / "errors") as started:
        yield started


@pytest.mark.slow
def test_a_full_disk_changes_nothing_and_a_second_run_completes(config, forks, tmp_path):
    run(config)
    before = _parts(config.out)
    _many(config.descriptions, 1500)

    def limited(size: int) -> str:
        told = forks.errors()
        assert forks.run([str(config.descriptions), config.encoder, str(config.out), 256, size])[0] == {0}
        return forks.errors().removeprefix(told)

    assert "Nothing was begun" in limited(60_000)  # 1503 vectors of 64 bytes
    assert _parts(config.out) == before
    found = limited(100_000)  # the vectors fit, the index does not
    assert "What was there is unchanged and the vectors are kept" in found
    assert _parts(config.out) == before
    assert "unchanged" not in limited(10_000_000)
    assert EmbeddingSet(config.out).meta["num_vectors"] == 1503
    assert sorted(p.name for p in tmp_path.iterdir() if "E" in p.name) == ["E"]


@pytest.mark.slow
def test_kills_at_any_instant_lose_nothing(config, forks, tmp_path):
    """Twenty kill -9 at random instants, from the start of a run to the last rename."""
    _many(config.descriptions, 250)
    call = [str(config.descriptions), config.encoder]
    draw = random.Random(0)
    statuses, seen = list[int](), set[str]()
    first, whole_s = forks.run([*call, str(tmp_path / "whole")])
    assert first == {0}
    expected = _parts(tmp_path / "whole")
    while statuses.count(-signal.SIGKILL) < 20:
        status, seconds = forks.run([*call, str(config.out)], kill_after_s=draw.uniform(0, whole_s))
        statuses += status
        seen |= {path.name for path in tmp_path.iterdir()}
        if status == {0}:
            whole_s = min(whole_s, seconds)  # a machine that was busy before would never kill in time
        if config.out.exists():
            assert _parts(config.out) == expected
            shutil.rmtree(config.out)
    assert set(statuses) <= {0, -signal.SIGKILL}
    assert forks.errors().count("Going on with") > 5
    assert ".E.embedding" in seen
    assert forks.run([*call, str(config.out)])[0] == {0}
    assert _parts(config.out) == expected
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".E.")] == []
