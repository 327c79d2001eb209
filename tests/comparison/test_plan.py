from __future__ import annotations

import pytest

from sightwords.comparison.cells import Cost, Plan, fit, time_of
from sightwords.errors import ConfigError

COSTS = {"small": Cost(epoch_s=1, run_s=5), "large": Cost(epoch_s=4, run_s=5)}
WANTED = Plan(["large", "small"], 5, 20, [])


def fitted(minutes: float) -> Plan:
    return fit(WANTED, COSTS, num_cells=4, num_processes=2, budget_s=60 * minutes)


def test_time_is_counted():
    # (20 x 4 + 5) + (20 x 1 + 5) seconds, 4 cells, 5 seeds, two at once, and a tenth more
    assert time_of(WANTED, COSTS, 4, 2) == pytest.approx(1.1 * 4 * 5 * 110 / 2)


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        (25, (["large", "small"], 5, 20)),
        (18, (["large", "small"], 4, 20)),
        (13, (["large", "small"], 3, 20)),
        (8, (["large", "small"], 3, 12)),
        (4, (["small"], 4, 20)),
        (1.8, (["small"], 3, 10)),
    ],
)
def test_first_fewer_seeds_then_fewer_epochs_then_fewer_networks(minutes, expected):
    plan = fitted(minutes)
    assert (plan.models, plan.num_seeds, plan.epochs) == expected
    assert time_of(plan, COSTS, 4, 2) <= 60 * minutes
    said = " ".join(plan.notes)
    assert ("5 seeds were asked for" in said) == (plan.num_seeds < 5)
    assert ("20 epochs were asked for" in said) == (plan.epochs < 20)
    assert ("Left out, being the slowest: large." in said) == (plan.models == ["small"])


def test_too_little_time_is_an_error_that_says_how_much_is_needed():
    with pytest.raises(ConfigError, match=r"3 seeds of small with 10 epochs .* 1 min 39 s"):
        fitted(1)
    assert fit(Plan(["small"], 1, 10, []), COSTS, 1, 1, 60).num_seeds == 1  # no more were asked for
