from __future__ import annotations

import numpy as np
import pytest

from sightwords.images.list_array import Ragged

ROWS = [[3], [], [1, 2], [5, 5, 5], []]


def rows(ragged: Ragged) -> list[list[int]]:
    return [ragged[i].tolist() for i in range(len(ragged))]


def test_rows_come_back_as_they_were():
    assert rows(Ragged.of(ROWS)) == ROWS
    assert Ragged.of(ROWS).lengths.tolist() == [1, 0, 2, 3, 0]


@pytest.mark.parametrize("every", [ROWS, [[4], [1], [2], [9], [7]]])
@pytest.mark.parametrize("chosen", [[], [2], [4, 3, 0], [0, 0, 2, 2], [4, 1]])
def test_take_gives_the_rows_in_the_order_asked_for(every, chosen):
    taken = Ragged.of(every).take(np.array(chosen, np.int64))
    assert rows(taken) == [every[i] for i in chosen]
    assert rows(taken.take(np.arange(len(chosen)))) == [every[i] for i in chosen]


def test_no_rows():
    assert rows(Ragged.of([])) == []
    assert rows(Ragged.of([]).take(np.zeros(0, np.int64))) == []


def test_as_many_values_as_rows_are_not_taken_for_singles():
    every = [[1, 2], [], [3]]
    assert rows(Ragged.of(every).take(np.array([2, 0]))) == [[3], [1, 2]]
