"""The index beside a description set: it follows the set, whoever writes to it, and finds what is asked."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from sightwords.browsing.index import DescriptionIndex, clip_scores, lengths, num_descriptions, repeated, sample
from sightwords.browsing.query import Filter, choices, count, match_expression, matching, read_page
from sightwords.descriptions.schema import DescriberInfo, Description, Prompt, Review
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError


def key(number: int) -> str:
    return f"{number:064x}"


def one(number: int, text: str, **more) -> Description:
    return Description(key(number), 1, 1, more.pop("sample", 0), text, **more)


@pytest.fixture
def store(tmp_path):
    with DescriptionSet(tmp_path / "D.db", create=True) as opened:
        opened.add_prompt(Prompt("plain", 1, "Describe this image."))
        opened.add_describer(DescriberInfo("hf:tiny", "tiny"))
        yield opened


@pytest.fixture
def index(store, tmp_path):
    return DescriptionIndex(store.path, tmp_path / "cache")


def fill(store, count=10):
    store.add_images((key(i), f"train/{i}.png", f"class {i % 2}") for i in range(count))
    store.put([one(i, f"a bird with number{i}", clip_score=i / 100) for i in range(count)])


def sync(index):
    while index.sync():
        pass


def found(index, order="oldest", size=100, **wanted):
    return [int(hit.key, 16) for hit in read_page(index, Filter(**wanted), size, order).hits]


def test_pages_join_without_gap_or_overlap_in_both_directions(store, index):
    fill(store, 10)
    store.put([one(3, "a second text", sample=1)])
    sync(index)
    for order, expected in (("oldest", list(range(10))), ("newest", list(range(9, -1, -1)))):
        page, seen = read_page(index, Filter(), 4, order), []
        while True:
            seen += page.hits
            if not page.has_more:
                break
            page = read_page(index, Filter(), 4, order, after=page.hits[-1].place)
        assert [int(hit.key, 16) for hit in seen] == expected
        assert [len(hit.ids) for hit in seen if hit.key == key(3)] == [2]
        back = read_page(index, Filter(), 4, order, before=seen[8].place)
        assert back.hits == seen[4:8]
        assert back.has_more


def test_pages_by_clip_score_join_too(store, index):
    fill(store, 10)
    store.put([one(20 + i, "t", clip_score=0.05) for i in range(3)])  # ties
    sync(index)
    first = read_page(index, Filter(clip_score_below=0.08), 7)
    rest = read_page(index, Filter(clip_score_below=0.08), 7, after=first.hits[-1].place)
    assert [int(hit.key, 16) for hit in first.hits + rest.hits] == [0, 1, 2, 3, 4, 5, 20, 21, 22, 6, 7, 8]
    assert not rest.has_more
    assert read_page(index, Filter(clip_score_below=0.08), 7, before=rest.hits[0].place).hits == first.hits


def test_filters_are_joined(store, index):
    fill(store)
    store.put([one(1, "no", status="rejected", reason="refusal"), one(2, "", status="failed", reason="timeout")])
    sync(index)
    assert found(index, class_name="class 1", status="ok") == [3, 5, 7, 9]
    assert found(index, status="rejected") == [1]
    assert found(index, reason="timeout") == [2]
    assert found(index, class_name="class 0", words="number4") == [4]
    assert found(index, class_name="no such class") == []
    assert count(index, Filter(status="ok")) == 8
    assert count(index, Filter(), most=3) == 4
    assert choices(index, "class") == [("class 0", 5), ("class 1", 5)]
    assert dict(choices(index, "status")) == {"ok": 8, "rejected": 1, "failed": 1}
    assert matching(index, Filter(status="ok"), [key(5), key(1), key(99)]).keys() == {key(5)}


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("blue bird", [0, 2]),
        ("bird blue", [0, 2]),
        ('"blue bird"', [0]),
        ("birds", [0, 1, 2]),  # as English words are bent
        ("bird -blue", [1]),
        ("feath*", [2]),
        ("feath", []),
        ("cafe", [1]),
        ('"unclosed blue', []),
        ("blue AND (", []),  # no words of a query language: they are looked for
        ("  ", [0, 1, 2]),
        ("-blue", []),
        ('"', []),
        ("text:blue", []),
    ],
)
def test_search(store, index, words, numbers):
    store.put([one(0, "A blue bird."), one(1, "a bird, in a Café"), one(2, "bird: feathers are blue")])
    sync(index)
    assert found(index, words=words) == numbers


def test_no_query_is_an_error_of_the_search_engine(store, index):
    fill(store, 2)
    sync(index)
    for words in (
        'a"b',
        "a*b",
        "^a",
        "NEAR(a b)",
        "a OR",
        "{text}: a",
        "\0",
        "'; DROP TABLE texts; --",
        '-"a b" c',
        "é*",
    ):
        read_page(index, Filter(words=words), 5)
    assert match_expression('a -"b c" d*') == '("a" "d"*) NOT ("b c")'


def test_it_follows_answers_that_another_process_adds(store, index):
    fill(store, 2)
    sync(index)
    code = f"""
        from sightwords.descriptions.store import Description, DescriptionSet
        with DescriptionSet({str(store.path)!r}) as store:
            store.put([Description("{key(7)}", 1, 1, 0, "a heron")])
            store.put([Description("{key(0)}", 1, 1, 0, "a crane", attempt=1)])
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    assert found(index, words="heron") == []
    sync(index)
    assert found(index, words="heron") == [7]
    assert found(index, words="crane") == [0]
    assert found(index, words="number0") == []  # an earlier attempt
    assert found(index) == [0, 1, 7]


def test_it_follows_decisions(store, index):
    fill(store, 2)
    sync(index)
    store.add_reviews([Review.of(store.current(key(0))[0], "edit", "human:anna", "a kestrel")])
    sync(index)
    assert (found(index, words="kestrel"), found(index, words="number0")) == ([0], [])
    store.add_reviews([Review.of(store.current(key(0))[0], "reject", "human:anna")])
    index.refresh(key(0))
    assert found(index, status="rejected", reason="rejected by human:anna") == [0]


def test_it_follows_changes_in_place(store, index):
    fill(store)
    sync(index)
    index._compared_at = -1e9  # as after the pause between two comparisons
    store.add_images([(key(3), "train/3.png", "another class")])
    store.set_clip_scores([(0.9, one(4, ""))])
    store.put([one(i, "all the same") for i in range(5, 10)])
    store._connection.execute("DELETE FROM descriptions WHERE key = ?", (key(0),))
    assert store.reject_same(1, 1, 3) == 5
    sync(index)
    assert found(index, class_name="another class") == [3]
    assert found(index, clip_score_below=1.0)[-1] == 4
    assert found(index, status="rejected") == [5, 6, 7, 8, 9]
    assert 0 not in found(index)


def test_it_is_not_compared_again_before_a_pause(store, index):
    fill(store)
    sync(index)
    store.set_clip_scores([(0.9, one(4, ""))])
    sync(index)
    assert found(index, clip_score_below=1.0)[-1] == 9


def test_it_is_kept_and_goes_on_where_it_was(store, index, tmp_path):
    fill(store, 5)
    sync(index)
    again = DescriptionIndex(store.path, tmp_path / "cache")
    assert again.progress() == (5, 5)
    assert found(again) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("damage", ["other set", "no database", "empty"])
def test_an_index_that_does_not_fit_is_made_again(store, index, tmp_path, damage):
    fill(store, 5)
    sync(index)
    if damage == "other set":
        store._connection.execute("UPDATE descriptions SET key = replace(key, '0', 'f')")
    else:
        index._close()
        index.file.write_bytes(b"" if damage == "empty" else b"x" * 5000)
        for ending in ("-wal", "-shm"):
            index.file.with_name(index.file.name + ending).unlink(missing_ok=True)
    again = DescriptionIndex(store.path, tmp_path / "cache")
    sync(again)
    assert len(found(again)) == 5
    assert found(again, words="number3") == [int(key(3).replace("0", "f"), 16) if damage == "other set" else 3]


def test_the_set_is_not_touched(store, index):
    fill(store, 5)

    def contents():
        return list(store.descriptions(None)), store._connection.execute("SELECT * FROM sqlite_master").fetchall()

    before = contents()
    sync(index)
    assert contents() == before


def test_what_is_no_set_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no description set"):
        DescriptionIndex(tmp_path / "none.db", tmp_path / "cache")


def test_figures(store, index):
    fill(store, 4)
    store.put(
        [one(7, "The SAME, words!"), one(8, "the same words"), one(9, "x", status="rejected", reason="too short")]
    )
    store.put([one(10, "below zero", clip_score=-0.03)])
    sync(index)
    assert num_descriptions(index) == (8, 8)
    assert lengths(index, 1) == {2: 1, 3: 2, 4: 4}
    assert clip_scores(index, 0.02) == {-2: 1, 0: 2, 1: 2}
    [same] = repeated(index, 5)
    assert (same.num_descriptions, same.key) == (2, key(7))
    assert found(index, same_as=same.digest) == [7, 8]
    assert {one.key for one in sample(index, 100)} == {key(i) for i in (0, 1, 2, 3, 7, 8, 10)}
    assert 1 <= len(sample(index, 3)) <= 3
