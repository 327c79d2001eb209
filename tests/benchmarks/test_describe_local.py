"""The benchmark of local models runs; its figures are not judged here, where other tests share the machine."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "describe_local.py"
spec = importlib.util.spec_from_file_location("describe_local", SCRIPT)
assert spec is not None
assert spec.loader is not None
bench = importlib.util.module_from_spec(spec)


@pytest.fixture(autouse=True)
def loaded(monkeypatch):
    """Run the script as a module, and take back what it changes for its own process."""
    for name in ("HF_HUB_OFFLINE", "SIGHTWORDS_CACHE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, spec.name, bench)  # dataclasses look their module up by name
    spec.loader.exec_module(bench)


@pytest.mark.slow
def test_all_arms_answer_and_are_reported(capsys):
    ratios = bench.main(
        "--small --images 5 --batch-size 2 --max-new-tokens 3 --repeats 1 --device cpu".split()  # noqa: SIM905
    )
    assert list(ratios) == ["bare", "describer", "describe"]
    assert ratios["bare"] == (1.0, 1.0)
    assert all(wall > 0 and work > 0 for wall, work in ratios.values())
    shown = capsys.readouterr().out
    assert "load of the machine" in shown
    assert "outside s" in shown


def test_arms_that_answer_differently_are_not_compared(tmp_path):
    shared = bench.Bench(tmp_path, [], bench.Decoding(), 1, "cpu")

    def arm(name, text):
        def run(shared):
            shared.note(name, {"a.jpg": text})
            yield bench.NOTHING

        return run

    assert len(bench.compare({"bare": arm("bare", "x"), "other": arm("other", "x")}, shared, 2)["other"]) == 2
    with pytest.raises(AssertionError, match="other gives other answers"):
        bench.compare({"bare": arm("bare", "x"), "other": arm("other", "y")}, shared, 1)


def test_arms_take_turns_and_what_they_say_does_not_count_is_taken_off(tmp_path, monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(bench, "now", lambda: (clock[0], clock[0]))
    monkeypatch.setattr(bench, "since", lambda start: (clock[0] - start[0], clock[0] - start[1]))

    def arm(name, uncounted):
        def run(shared):
            for _ in range(2):
                order.append(name)
                clock[0] += 5.0
                yield uncounted, uncounted

        return run

    shared = bench.Bench(tmp_path, [], bench.Decoding(), 1, "cpu")
    spent = bench.compare({"bare": arm("bare", 0.0), "other": arm("other", 2.0)}, shared, 1)
    assert order == ["bare", "other", "other", "bare"] * 2  # a round to warm up, and one that counts
    assert [own.wall_s for own in spent["bare"]] == [10.0]
    assert [own.wall_s for own in spent["other"]] == [6.0]


def test_the_ratio_is_the_median_over_repeats(capsys):
    bare = [bench.Spent(2.0, 4.0, 1.5), bench.Spent(3.0, 3.0, 2.0), bench.Spent(4.0, 4.0, 4.0)]
    other = [bench.Spent(1.0, 1.0, 0.5), bench.Spent(3.0, 1.0, 2.0), bench.Spent(8.0, 4.0, 7.75)]
    assert bench.report({"bare": bare, "other": other}, 10) == {"bare": (1.0, 1.0), "other": (1.0, 3.0)}
    assert "0.500   2.000 4.000  1.000 3.000  0.500 1.000" in capsys.readouterr().out
