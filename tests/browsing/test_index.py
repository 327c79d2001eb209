"""The index beside a description set: it follows the set, whoever writes to it, and finds what is asked."""

from __future__ import annotations

import gc
from urllib.parse import parse_qsl

import pytest

from sightwords.browsing import index as module
from sightwords.browsing.index import DescriptionIndex
from sightwords.browsing.query import Query, choices, count, match_expression, matching, read_page
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
    return [int(hit.key, 16) for hit in read_page(index, Query(order=order, **wanted), size)[0]]


def test_pages_join_without_gap_or_overlap_in_both_directions(store, index):
    fill(store, 10)
    store.put([one(3, "a second text", sample=1)])
    sync(index)
    for order, expected in (("oldest", list(range(10))), ("newest", list(range(9, -1, -1)))):
        query, seen, has_more = Query(order=order), [], True
        while has_more:
            hits, has_more = read_page(index, query, 4)
            seen += hits
            query = query.first_page(after=hits[-1].cursor)
        assert [int(hit.key, 16) for hit in seen] == expected
        assert [hit.slots for hit in seen if hit.key == key(3)] == [{(1, 1, 0), (1, 1, 1)}]
        assert read_page(index, Query(order=order, before=seen[8].cursor), 4) == (seen[4:8], True)


def test_pages_by_clip_score_join_too(store, index):
    fill(store, 10)
    store.put([one(20 + i, "t", clip_score=0.05) for i in range(3)])  # ties
    sync(index)
    query = Query(clip_score_below=0.08)
    first, _ = read_page(index, query, 7)
    rest, has_more = read_page(index, query.first_page(after=first[-1].cursor), 7)
    assert [int(hit.key, 16) for hit in first + rest] == [0, 1, 2, 3, 4, 5, 20, 21, 22, 6, 7, 8]
    assert not has_more
    assert read_page(index, query.first_page(before=rest[0].cursor), 7) == (first, False)


def test_filters_are_joined(store, index):
    fill(store)
    store.put([one(1, "no", status="rejected", reason="refusal"), one(2, "", status="failed", reason="timeout")])
    sync(index)
    assert found(index, class_name="class 1", status="ok") == [3, 5, 7, 9]
    assert found(index, status="rejected") == [1]
    assert found(index, reason="timeout") == [2]
    assert found(index, class_name="class 0", words="number4") == [4]
    assert found(index, class_name="no such class") == []
    assert count(index, Query(status="ok")) == 8
    assert count(index, Query(), limit=3) == 4
    assert choices(index, "class_name") == [("class 0", 5), ("class 1", 5)]
    assert dict(choices(index, "status")) == {"ok": 8, "rejected": 1, "failed": 1}
    assert matching(index, Query(status="ok"), [key(5), key(1), key(99)]).keys() == {key(5)}


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
        read_page(index, Query(words=words), 5)
    assert match_expression('a -"b c" d*') == '("a" "d"*) NOT ("b c")'


def test_it_follows_answers_and_reviews_that_others_add(store, index):
    fill(store, 2)
    sync(index)
    with DescriptionSet(store.path) as other:
        other.put([one(7, "a heron"), one(0, "a crane", attempt=1)])
    assert found(index, words="heron") == []
    sync(index)
    assert found(index, words="heron") == [7]
    assert found(index, words="crane") == [0]
    assert found(index, words="number0") == []  # an earlier attempt
    assert found(index) == [0, 1, 7]
    store.add_reviews([Review.of(store.current(key(0))[0], "edit", "human:anna", "a kestrel")])
    sync(index)
    assert (found(index, words="kestrel"), found(index, words="crane")) == ([0], [])
    store.add_reviews([Review.of(store.current(key(0))[0], "reject", "human:anna")])
    index.refresh(key(0))
    assert found(index, status="rejected", reason="rejected by human:anna") == [0]


def test_it_follows_changes_in_place_after_a_pause(store, index, monkeypatch):
    fill(store)
    sync(index)
    store.set_clip_scores([(0.95, one(4, ""))])
    sync(index)
    assert found(index, clip_score_below=1.0)[-1] == 9
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
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


def test_it_is_kept_and_goes_on_where_it_was(store, index, tmp_path):
    fill(store, 5)
    sync(index)
    again = DescriptionIndex(store.path, tmp_path / "cache")
    assert again.progress() == (5, 5)
    assert found(again) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("damage", ["other set", "no database", "empty"])
def test_an_index_that_does_not_fit_is_built_again(store, tmp_path, damage):
    fill(store, 5)
    index = DescriptionIndex(store.path, tmp_path / "cache")
    sync(index)
    file = index.file
    del index
    gc.collect()  # closes its connection
    if damage == "other set":
        store._connection.execute("UPDATE descriptions SET key = replace(key, '0', 'f')")
    else:
        file.write_bytes(b"" if damage == "empty" else b"x" * 5000)
    again = DescriptionIndex(store.path, tmp_path / "cache")
    sync(again)
    assert found(again, words="number3") == [int(key(3).replace("0", "f"), 16) if damage == "other set" else 3]


def test_the_set_is_not_touched(store, index):
    fill(store, 5)
    before = list(store.descriptions(None)), store._connection.execute("SELECT * FROM sqlite_master").fetchall()
    sync(index)
    after = list(store.descriptions(None)), store._connection.execute("SELECT * FROM sqlite_master").fetchall()
    assert after == before


def test_what_is_no_set_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no description set"):
        DescriptionIndex(tmp_path / "none.db", tmp_path / "cache")


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query('a & "b" <c>', "", "cls", "rejected", "why?", 0.25, -(2**62), order="oldest", after=(0.0, 12)),
        Query(clip_score_below=0.0, before=(0.123456789012345, 3)),
        Query(meaning="a red bird", skip=96),
    ],
)
def test_a_query_comes_back_from_its_address(query):
    assert Query.from_url(dict(parse_qsl(query.to_url()))) == query


def test_nonsense_in_an_address_is_left_out():
    nonsense = ["status=fine", "order=random", "clip_score=nan", "clip_score=x", "after=1", "skip=-5", "skip=x"]
    for address in [*nonsense, "after=0.0,999999999999999999999", "same=1.5", "before=,"]:
        assert Query.from_url(dict(parse_qsl(address))) == Query()


def test_another_query_begins_on_the_first_page():
    assert Query("a", after=(0.0, 7), skip=48).first_page(words="b") == Query("b")
