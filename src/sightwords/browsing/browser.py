"""The page's data: what a query shows, and what becomes of a review. It knows nothing of the page itself."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from sightwords.browsing.config import BrowseConfig
from sightwords.browsing.index import DescriptionIndex
from sightwords.browsing.query import Query, Slots, count, matching, read_page
from sightwords.browsing.thumbnails import Thumbnails
from sightwords.descriptions.schema import Action, Description, Review
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, ConfigError, DataError, SightwordsError
from sightwords.files import cache_folder
from sightwords.images.dataset import open_dataset, read_classes
from sightwords.labels.table import read_rows
from sightwords.text.embedding_set import EmbeddingSet, all_products
from sightwords.text.encoders import Encoder, open_encoder

PAGE_SIZE = 24
_RANKED_AT_ONCE = 200  # images that are filtered at once while those of a page are picked by meaning
_PAUSE_S = 1.0  # between two looks at what other processes wrote
_BAG_OF_WORDS = "builtin:words"


@dataclass(frozen=True)
class Text:
    """A description with people's reviews applied; `review` is the one that counts, None where there is none."""

    row: Description
    describer: str
    prompt: str
    review: Review | None

    @property
    def is_edited(self) -> bool:
        """Whether a person rewrote it."""
        return self.review is not None and self.review.action == "edit"


@dataclass(frozen=True)
class Card:
    """An image with its descriptions.

    Attributes:
        name: the image's name, empty where it is not known.
        class_name: readable class name, empty where it has none.
        similarity: to the sentence that was searched for, a cosine.
    """

    key: str
    name: str
    class_name: str
    texts: list[Text]
    similarity: float | None = None


@dataclass(frozen=True)
class Page:
    """What a query shows.

    Attributes:
        previous: the query of the page before, None on the first one.
        following: the query of the next page, None on the last one.
        num_found: descriptions, counted up to a bound; None where they are ranked by meaning.
    """

    cards: list[Card]
    previous: Query | None
    following: Query | None
    num_found: int | None


@dataclass(frozen=True)
class LabelTask:
    """An image that a person is to label: its key, and the id of the class that is proposed, empty for none."""

    key: str
    label: str


class Browser:
    """A description set that people look at; it may be used by several threads.

    Args:
        config: set, images and embeddings.

    Raises:
        ArtifactError: the description set or the embedding set is missing or damaged.
        DataError: the images cannot be used.
        ConfigError: the embedding set cannot be searched by meaning.
    """

    def __init__(self, config: BrowseConfig) -> None:
        self.config = config
        self.index = DescriptionIndex(config.descriptions, cache_folder() / "browse")
        self.store = DescriptionSet(config.descriptions)
        self.search = SemanticSearch(config.embeddings) if config.embeddings else None
        self.thumbnails = Thumbnails(open_dataset(config) if config.has_images else None)
        self.num_reviews: dict[Action, int] = {}
        self.num_labels = 0
        self.trouble = ""
        self._reviewing = threading.Lock()
        self._stopped = threading.Event()
        self._follower = threading.Thread(target=self._follow, name="index", daemon=True)

    def __enter__(self) -> Browser:
        self.index.sync()  # the first part at once, so that the first visitor sees something
        self._follower.start()
        if self.search is not None:
            threading.Thread(target=self.search.warm_up, name="encoder", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._follower.join()
        self.store.__exit__(None, None, None)

    def page(self, query: Query) -> Page:
        """Return what a query shows.

        Raises:
            ArtifactError: the set or its index cannot be read.
            ModelError: the encoder cannot be had.
            MissingExtraError: the encoder's library is not installed.
        """
        if query.meaning.strip() and self.search is not None:
            return self._page_by_meaning(query, self.search)
        hits, has_more = read_page(self.index, query, PAGE_SIZE)
        going_back = query.before is not None
        has_previous = has_more if going_back else query.after is not None
        has_following = going_back or has_more
        return Page(
            [self.card(hit.key, hit.slots) for hit in hits],
            query.first_page(before=hits[0].cursor) if hits and has_previous else None,
            query.first_page(after=hits[-1].cursor) if hits and has_following else None,
            count(self.index, query),
        )

    def card(self, key: str, slots: Slots | None = None, similarity: float | None = None) -> Card:
        """Return an image with some of its descriptions, all by default."""
        name, class_name = self.store.image(key) or ("", "")
        reviews = self.store.reviews(key)
        rows = [row for row in self.store.current(key) if slots is None or _slot(row) in slots]
        return Card(key, name, class_name, [self._text(row, reviews) for row in rows], similarity)

    def history(self, key: str) -> list[Description | Review]:
        """Return every answer and every review of an image, the oldest first."""
        events: list[Description | Review] = [*self.store.attempts_at(key), *self.store.reviews(key)]
        return sorted(events, key=lambda event: event.created_at)

    def review(self, text: Text, action: Action, words: str = "") -> Text:
        """Store a review and return the description as it counts from then on.

        Raises:
            ConfigError: an edit has no text.
            ArtifactError: the set cannot be written.
        """
        key, slot = text.row.key, _slot(text.row)
        with self._reviewing:
            # another answer may have come since the text was shown
            self.store.add_reviews([Review.of(self._current(key, slot), action, self.config.author, words)])
            self.num_reviews[action] = self.num_reviews.get(action, 0) + 1
            self.index.refresh(key)
            return self._text(self._current(key, slot), self.store.reviews(key))

    def label(self, key: str, class_id: str) -> bool:
        """Store which class a person sees in an image; return True.

        Raises:
            ArtifactError: the set cannot be written.
        """
        self.store.add_label(key, class_id, self.config.author)
        self.num_labels += 1
        return True

    @cached_property
    def label_tasks(self) -> tuple[list[LabelTask], dict[str, str]]:
        """The images to label, in their order, and the name of each class by its id.

        Raises:
            DataError: the table of labels, or that of the classes, cannot be read.
        """
        assert self.config.label is not None
        rows = read_rows(self.config.label)
        if missing := [name for name in ("key", "label", "probabilities") if rows and name not in rows[0]]:
            raise DataError(f"{self.config.label} has no column {missing[0]}. Name a table of `sightwords label`.")
        known = {str(row["label"]): str(row.get("label_name") or row["label"]) for row in rows if row["label"]}
        for row in rows:
            known |= {one: known.get(one, one) for one in json.loads(row["probabilities"] or "{}")}
        if self.config.classes:
            known |= read_classes(self.config.classes, known)
        return [LabelTask(str(row["key"]), str(row["label"])) for row in rows], dict(sorted(known.items()))

    def _page_by_meaning(self, query: Query, search: SemanticSearch) -> Page:
        ranked = search.ranked(query.meaning.strip())
        found: list[tuple[str, Slots, float]] = []
        end = query.skip + PAGE_SIZE
        while len(found) <= end and (part := dict(islice(ranked, _RANKED_AT_ONCE))):
            found += [(key, slots, part[key]) for key, slots in matching(self.index, query, list(part)).items()]
        return Page(
            [self.card(*hit) for hit in found[query.skip : end]],
            query.first_page(skip=max(0, query.skip - PAGE_SIZE)) if query.skip else None,
            query.first_page(skip=end) if len(found) > end else None,
            None,
        )

    def _text(self, row: Description, reviews: list[Review]) -> Text:
        last = next((review for review in reversed(reviews) if _slot(review) == _slot(row)), None)
        review = last if last is not None and last.holds(row.attempt) else None
        describer, prompt = self.store.describers()[row.describer], self.store.prompts()[row.prompt]
        return Text(row, describer.identifier, prompt.name, review)

    def _current(self, key: str, slot: tuple[int, int, int]) -> Description:
        for found in self.store.current(key):
            if _slot(found) == slot:
                return found
        raise ArtifactError("This description is gone from the set. Load the page again.")

    def _follow(self) -> None:
        """Keep the index up to date until the page is closed."""
        while not self._stopped.is_set():
            try:
                more, self.trouble = self.index.sync(), ""
            except ArtifactError as error:
                more, self.trouble = False, str(error)
            self._stopped.wait(0.01 if more else _PAUSE_S)


def _slot(one: Description | Review) -> tuple[int, int, int]:
    return one.prompt, one.describer, one.sample


class SemanticSearch:
    """Ranks the images of an embedding set by their texts' similarity to a sentence; usable by several threads.

    Args:
        folder: the embedding set.

    Raises:
        ArtifactError: it is missing or damaged.
        ConfigError: its encoder cannot encode a new sentence.
    """

    def __init__(self, folder: Path) -> None:
        self._set = EmbeddingSet(folder)
        self._encoder_id = str(self._set.meta["encoder"])
        if self._encoder_id.startswith(_BAG_OF_WORDS):
            raise ConfigError(
                f"{folder} was made by {self._encoder_id}, which counts words and cannot search by meaning. Name a set "
                "of another encoder, or leave --embeddings out: words are found without it."
            )
        self._lock = threading.Lock()
        self._ranked = lru_cache(maxsize=8)(self._rank)

    def warm_up(self) -> None:
        """Load what the first search needs, which takes seconds; an error comes back with the search."""
        with self._lock, contextlib.suppress(SightwordsError):
            self._parts[0].encode(["warm up"])

    def ranked(self, sentence: str) -> Iterator[tuple[str, float]]:
        """Yield the key of every image with its similarity to a sentence, a cosine; the most similar first, each once.

        Raises:
            MissingExtraError: the encoder's library is not installed.
            ModelError: the encoder cannot be had.
        """
        with self._lock:
            order, scores = self._ranked(sentence)
            _, keys, _ = self._parts
        seen: set[str] = set()
        for place in order:
            if (key := keys[place].as_py()) not in seen:
                seen.add(key)
                yield key, float(scores[place])

    def _rank(self, sentence: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the descriptions in the order of similarity, int64, (N,), and their similarity, float32, (N,)."""
        encoder, _, rows = self._parts
        vector = np.asarray(encoder.encode([sentence])[0], np.float32)
        scores = all_products(self._set.vectors, vector / max(float(np.linalg.norm(vector)), 1e-12))[rows]
        return np.argsort(-scores, kind="stable"), scores

    @cached_property
    def _parts(self) -> tuple[Encoder, pa.Array, np.ndarray]:
        """The encoder, and the image's key and the row of each description, (N,)."""
        table = self._set.index()
        encoder = open_encoder(self._encoder_id, "cpu", "fp32")
        return encoder, table["key"].combine_chunks(), table["row"].to_numpy()
