"""A damaged set gives what can still be read."""

from __future__ import annotations

import hashlib

import pytest

from sightwords.descriptions.merge import rescue
from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, DamagedSetError

PROMPT, WHO = Prompt("p", 1, "t"), DescriberInfo("d", "m", "r", {"seed": 1})
NUM = 3000


@pytest.fixture
def whole(tmp_path):
    """A set of 3,000 rows of about 300 bytes."""
    path = tmp_path / "D.db"
    with DescriptionSet(path, create=True) as store:
        prompt, who = store.add_prompt(PROMPT), store.add_describer(WHO)
        keys = sorted(hashlib.sha256(str(i).encode()).hexdigest() for i in range(NUM))
        store.add_images((key, f"{key[:8]}.png", "cat") for key in keys)
        store.put(Description(key, prompt, who, 0, f"text of {key} " * 3) for key in keys)
    return path


def rescued(path, tmp_path) -> tuple[int, dict[str, str]]:
    out = tmp_path / "R.db"
    number = rescue(path, out)
    with DescriptionSet(out) as store:
        store.check()
        assert store.prompts() == {1: PROMPT}
        assert store.describers() == {1: WHO}
        return number, {row.key: row.text for row in store.descriptions()}


@pytest.mark.parametrize("share", [0.9, 0.5])
def test_of_a_truncated_set_most_rows_before_the_cut_are_saved(whole, tmp_path, share):
    with whole.open("r+b") as file:
        file.truncate(int(whole.stat().st_size * share))
    with pytest.raises(DamagedSetError):
        DescriptionSet(whole)
    number, texts = rescued(whole, tmp_path)
    assert number == len(texts) > (share - 0.25) * NUM
    assert all(text == f"text of {key} " * 3 for key, text in texts.items())


def test_a_bad_stretch_costs_only_what_lies_in_it(whole, tmp_path):
    data = bytearray(whole.read_bytes())
    middle = len(data) * 2 // 3
    data[middle : middle + 20_000] = b"\xff" * 20_000
    whole.write_bytes(data)
    number, texts = rescued(whole, tmp_path)
    assert NUM - 200 < number < NUM
    assert all(text == f"text of {key} " * 3 for key, text in texts.items())


def test_a_whole_set_is_saved_whole(whole, tmp_path):
    assert rescued(whole, tmp_path)[0] == NUM


def test_nothing_to_read_is_an_error(tmp_path):
    (tmp_path / "D.db").write_bytes(b"no database " * 1000)
    with pytest.raises(ArtifactError, match="Nothing in .* can be read"):
        rescue(tmp_path / "D.db", tmp_path / "R.db")
