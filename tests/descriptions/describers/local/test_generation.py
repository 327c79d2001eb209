from __future__ import annotations

from sightwords.descriptions.describers.hf_generation import until_end


def test_until_end_drops_the_end_token_and_what_follows():
    assert until_end([5, 6, 2, 0, 0], {2}) == ([5, 6], False)
    assert until_end([5, 6], {2}) == ([5, 6], True)
    assert until_end([2, 2], {2}) == ([], False)
