"""What the summary tells: words of classes, nearly the same texts, bars."""

from __future__ import annotations

import numpy as np

from sightwords.browsing.index import DescriptionIndex
from sightwords.browsing.query import Query, read_page
from sightwords.browsing.summary import near_duplicates, summarize, typical_words
from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet


def test_typical_words_are_those_of_the_class_and_not_the_frequent_ones():
    texts = [("cat", "the animal with whiskers and a tail")] * 30 + [("dog", "the animal with a leash and a tail")] * 30
    found = typical_words(texts)
    assert found["cat"][0][0] == "whiskers"
    assert found["dog"][0][0] == "leash"
    assert not {"the", "animal", "tail"} & {word for own in found.values() for word, _ in own}


def test_words_without_evidence_are_not_typical():
    random = np.random.default_rng(0)
    words = np.array(["red", "blue", "green", "large", "small", "round"])
    texts = [(f"class {i % 2}", " ".join(random.choice(words, 5))) for i in range(60)]
    assert sum(len(own) for own in typical_words(texts).values()) <= 2
    assert typical_words([("", "no class"), ("one", "only one class")]) == {}


def test_nearly_the_same_texts_are_found_and_the_same_ones_left_out():
    base = " ".join(f"word{i}" for i in range(40))
    texts = [base, base.replace("word20", "other"), "something else entirely that is not alike", base]
    assert {(a, b) for a, b, _ in near_duplicates(texts)} == {(0, 1), (1, 3)}
    assert all(0.7 <= similarity < 1 for _, _, similarity in near_duplicates(texts))


def test_nearly_the_same_texts_are_found_among_many():
    random = np.random.default_rng(1)
    words = np.array([f"w{i}" for i in range(3000)])
    texts = [" ".join(random.choice(words, 30)) for _ in range(1500)]
    texts[700] = texts[3].replace(texts[3].split()[15], "changed")
    assert [(a, b) for a, b, _ in near_duplicates(texts)] == [(3, 700)]
    assert near_duplicates(["a", "", "a b"]) == []


def test_the_summary_of_a_set(tmp_path):
    with DescriptionSet(tmp_path / "D.db", create=True) as store:
        store.add_prompt(Prompt("plain", 1, "Describe."))
        store.add_describer(DescriberInfo("d", "m"))
        store.add_images((f"{i:064x}", f"{i}.png", f"class {i % 2}") for i in range(40))
        store.put(
            Description(f"{i:064x}", 1, 1, 0, "spots " * (i % 2) + "a thing " * (1 + i % 5), clip_score=i / 100)
            for i in range(40)
        )
        store.put([Description(f"{50:064x}", 1, 1, 0, "no", "rejected", "too short", clip_score=-0.03)])
        index = DescriptionIndex(store.path, tmp_path / "cache")
        while index.sync():
            pass
        summary = summarize(index)
    assert (summary.num_descriptions, summary.num_images, summary.num_sampled) == (41, 41, 40)
    assert sum(count for _, count in summary.lengths) == 40
    assert sum(count for _, count in summary.clip_scores) == 41
    assert [label for label, count in summary.clip_scores if count][:2] == ["-0.04 to -0.02", "0.00 to 0.02"]
    assert summary.reasons == [("too short", 1)]
    assert [word for word, _ in summary.typical["class 1"]] == ["spots"]
    digest, count, one = summary.repeated[0]
    assert count == len(read_page(index, Query(same_as=digest), 100)[0]) == 4
    assert one.text.startswith("a thing ")


def test_the_summary_of_an_empty_set(tmp_path):
    with DescriptionSet(tmp_path / "D.db", create=True):
        pass
    summary = summarize(DescriptionIndex(tmp_path / "D.db", tmp_path / "cache"))
    assert (summary.num_descriptions, summary.lengths, summary.repeated) == (0, [], [])
