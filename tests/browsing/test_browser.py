"""The page's data: pages of a query, reviews, search by meaning."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sightwords.browsing import browser as module
from sightwords.browsing.browser import Browser
from sightwords.browsing.config import BrowseConfig
from sightwords.browsing.query import Query
from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ConfigError
from sightwords.text.embedding_set import EmbeddingSet

NUM_IMAGES = 12


def key(number):
    return f"{number:064x}"


class Encoder:
    """Looks in the direction that a text's last word names, else in the first one."""

    def encode(self, texts):
        numbers = [int(text.split()[-1]) if text[-1].isdecimal() else 0 for text in texts]
        return np.eye(NUM_IMAGES, dtype=np.float32)[numbers]


@pytest.fixture
def path(tmp_path):
    with DescriptionSet(tmp_path / "D.db", create=True) as store:
        store.add_prompt(Prompt("plain", 1, "Describe."))
        store.add_describer(DescriberInfo("hf:tiny", "tiny"))
        store.add_images((key(i), f"train/{i}.png", f"class {i % 2}") for i in range(NUM_IMAGES))
        store.put(Description(key(i), 1, 1, 0, f"text {i}") for i in range(NUM_IMAGES))
    vectors = np.eye(NUM_IMAGES, dtype=np.float32) * 0.9
    vectors[:, 0] += 0.1
    columns = {
        "key": [key(i) for i in range(NUM_IMAGES)] + [key(3)],
        "prompt": ["plain"] * (NUM_IMAGES + 1),
        "describer": ["hf:tiny"] * (NUM_IMAGES + 1),
        "sample": [0] * NUM_IMAGES + [1],
        "row": [*range(NUM_IMAGES), 5],
    }
    EmbeddingSet.write(tmp_path / "E", vectors, np.zeros(NUM_IMAGES), columns, {"encoder": "builtin:minilm"})
    return tmp_path / "D.db"


@pytest.fixture
def browser(path, monkeypatch):
    monkeypatch.setattr(module, "PAGE_SIZE", 5)
    monkeypatch.setattr(module, "open_encoder", lambda *_: Encoder())
    with Browser(BrowseConfig(path, embeddings=path.parent / "E", name="anna")) as opened:
        yield opened


def numbers(shown):
    return [int(card.key, 16) for card in shown.cards]


def test_pages_lead_to_one_another(browser):
    first = browser.page(Query())
    assert (numbers(first), first.previous, first.num_found) == ([11, 10, 9, 8, 7], None, 12)
    second = browser.page(first.following)
    third = browser.page(second.following)
    assert (numbers(second), numbers(third), third.following) == ([6, 5, 4, 3, 2], [1, 0], None)
    assert numbers(browser.page(third.previous)) == numbers(second)
    back = browser.page(browser.page(third.previous).previous)
    assert (numbers(back), back.previous) == (numbers(first), None)


def test_a_review_is_stored_shown_and_found_at_once(browser, path):
    card = browser.card(key(4))
    text = card.texts[0]
    assert (card.name, card.class_name, text.describer, text.prompt) == ("train/4.png", "class 0", "hf:tiny", "plain")
    assert (text.is_edited, text.review) == (False, None)
    edited = browser.review(text, "edit", "a heron")
    assert (edited.row.text, edited.is_edited, edited.review.author) == ("a heron", True, "human:anna")
    assert numbers(browser.page(Query("heron"))) == [4]
    with DescriptionSet(path) as store:
        assert {row.key: row.text for row in store.select()}[key(4)] == "a heron"
        assert [row.text for row in store.attempts_at(key(4))] == ["text 4"]
    rejected = browser.review(edited, "reject")
    assert (rejected.row.status, rejected.row.reason) == ("rejected", "rejected by human:anna")
    restored = browser.review(rejected, "restore")
    assert (restored.row.text, restored.row.status, restored.review) == ("text 4", "ok", None)
    assert browser.num_reviews == {"edit": 1, "reject": 1, "restore": 1}
    assert [type(event).__name__ for event in browser.history(key(4))] == ["Description", *["Review"] * 3]


def test_a_review_is_of_the_answer_that_is_there_by_then(browser, path):
    text = browser.card(key(4)).texts[0]
    with DescriptionSet(path) as store:
        store.put([Description(key(4), 1, 1, 0, "a later answer", attempt=1)])
    assert browser.review(text, "ask").row.status == "rejected"
    with DescriptionSet(path) as store:
        assert store.last_reviews(1, 1)[key(4), 0].attempt == 1


def test_two_browsers_at_once_lose_no_review_and_see_each_others(browser, path):
    with Browser(BrowseConfig(path, name="bob")) as other, ThreadPoolExecutor(4) as pool:
        texts = [browser.card(key(i)).texts[0] for i in range(NUM_IMAGES)]
        edits = [(one, text) for text in texts for one in (browser, other)]
        list(pool.map(lambda edit: edit[0].review(edit[1], "edit", f"{edit[0].config.name} {edit[1].row.text}"), edits))
        with DescriptionSet(path) as store:
            reviews = [store.reviews(key(i)) for i in range(NUM_IMAGES)]
        assert all({r.author for r in own} == {"human:anna", "human:bob"} for own in reviews)
        for i, own in enumerate(reviews):
            shown = {one.card(key(i)).texts[0].row.text for one in (browser, other)}
            assert shown == {own[-1].text}
        while other.index.sync():
            pass
        assert sorted(numbers(other.page(Query("text")))[:5]) == [7, 8, 9, 10, 11]


def test_an_empty_edit_changes_nothing(browser):
    with pytest.raises(ConfigError, match="Reject it instead"):
        browser.review(browser.card(key(4)).texts[0], "edit", "  ")
    assert browser.history(key(4)) == browser.store.attempts_at(key(4))


def test_search_by_meaning_ranks_and_filters_and_turns_pages(browser):
    first = browser.page(Query(meaning="number 7"))
    assert numbers(first)[0] == 7
    assert first.cards[0].similarity == pytest.approx(0.9, abs=0.01)
    seen, shown = numbers(first), first
    while shown.following:
        shown = browser.page(shown.following)
        seen += numbers(shown)
    assert sorted(seen) == list(range(NUM_IMAGES))  # each once, also the one with two vectors
    assert numbers(browser.page(shown.previous)) == seen[5:10]
    odd = browser.page(Query(class_name="class 1", meaning="number 7"))
    assert all(number % 2 for number in numbers(odd))
    assert numbers(odd)[0] == 7


def test_vectors_that_count_words_cannot_be_searched_by_meaning(path):
    columns = {"key": [key(0)], "prompt": ["p"], "describer": ["d"], "sample": [0], "row": [0]}
    EmbeddingSet.write(path.parent / "W", np.eye(2), np.zeros(2), columns, {"encoder": "builtin:words-100"})
    with pytest.raises(ConfigError, match="counts words"):
        Browser(BrowseConfig(path, embeddings=path.parent / "W"))


def test_answers_that_a_running_describe_adds_are_found(browser, path):
    with DescriptionSet(path) as store:
        store.put([Description(key(20), 1, 1, 0, "a late heron")])
    until = time.monotonic() + 60
    while not (shown := numbers(browser.page(Query("heron")))) and time.monotonic() < until:
        time.sleep(0.05)
    assert shown == [20]
