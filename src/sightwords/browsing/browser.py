"""The page's data: what is shown of a view, and what becomes of a decision. It knows nothing of the page itself."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, get_args
from urllib.parse import urlencode

from sightwords.browsing.config import BrowseConfig
from sightwords.browsing.index import SLOTS, DescriptionIndex
from sightwords.browsing.meaning import Meaning
from sightwords.browsing.query import Filter, Order, Place, count, matching, read_page, slots
from sightwords.browsing.thumbnails import Pictures
from sightwords.descriptions.schema import Action, Description, Review, Status
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, SightwordsError
from sightwords.files import cache_folder
from sightwords.images.dataset import open_dataset

PAGE_SIZE = 24
_AT_ONCE = 200  # images that are looked at while those of a page are picked by meaning
_PAUSE_S = 1.0  # between two looks at what other processes wrote


@dataclass(frozen=True)
class Text:
    """A description as it counts.

    Attributes:
        now: the row, with what people decided.
        who: who answered: the describer's identifier.
        prompt: the prompt's name.
        edited: whether a person rewrote it.
        decided: whether a person decided about it.
    """

    now: Description
    who: str
    prompt: str
    edited: bool = False
    decided: bool = False


@dataclass(frozen=True)
class Card:
    """An image with its wanted descriptions.

    Attributes:
        key: key of the image.
        name: the image's name, empty where it is not known.
        class_name: readable class name, empty where it has none.
        texts: the descriptions.
        likeness: to the sentence that was searched by.
    """

    key: str
    name: str
    class_name: str
    texts: list[Text]
    likeness: float | None = None


@dataclass(frozen=True)
class Shown:
    """A page of a view.

    Attributes:
        cards: the images.
        previous: the view of the page before, None at the front.
        following: the view of the page behind, None at the end.
        num_found: wanted descriptions, counted up to a bound; None where they are ranked by meaning.
    """

    cards: list[Card]
    previous: View | None
    following: View | None
    num_found: int | None


class Browser:
    """A description set that is looked at; it may be used by several threads.

    Args:
        config: set, images and embeddings.

    Raises:
        ArtifactError: the description set or the embedding set is missing or damaged.
        DataError: the images cannot be used.
        ConfigError: the embedding set cannot be searched by meaning.
    """

    def __init__(self, config: BrowseConfig) -> None:
        self.config = config
        folder = cache_folder() / "browse"
        self.index = DescriptionIndex(config.descriptions, folder / "index")
        self.store = DescriptionSet(config.descriptions)
        self.meaning = Meaning(config.embeddings) if config.embeddings else None
        dataset = open_dataset(config) if config.has_images else None
        self.pictures = Pictures(dataset, folder / "thumbnails", config.thumbnail_mb * 2**20)
        self.has_images = dataset is not None
        self.num_decided: dict[Action, int] = {}
        self.trouble = ""
        self._describers: dict[int, str] = {}
        self._prompts: dict[int, str] = {}
        self._deciding = threading.Lock()
        self._stopped = threading.Event()
        self._follower = threading.Thread(target=self._follow, name="index", daemon=True)

    def __enter__(self) -> Browser:
        self.index.sync()  # the first part at once, so that the first visitor sees something
        self._follower.start()
        if self.meaning is not None:
            threading.Thread(target=self._warm_up, args=(self.meaning,), name="encoder", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._follower.join()
        self.store.__exit__(None, None, None)

    def page(self, view: View) -> Shown:
        """Return what a view shows.

        Raises:
            ArtifactError: the set or its index cannot be read.
            ModelError: the encoder cannot be had.
            MissingExtraError: the encoder's library is not installed.
        """
        if view.meaning.strip() and self.meaning is not None:
            return self._page_by_meaning(view, self.meaning)
        page = read_page(self.index, view.wanted, PAGE_SIZE, view.order, view.after, view.before)
        known = slots(self.index)
        cards = [self._card(hit.key, {known[number % SLOTS] for number in hit.ids}) for hit in page.hits]
        front, back = (page.hits[0].place, page.hits[-1].place) if page.hits else (None, None)
        going_back = view.before is not None
        has_previous = page.has_more if going_back else view.after is not None
        has_following = going_back or page.has_more
        return Shown(
            cards,
            view.at_front(before=front) if has_previous and front else None,
            view.at_front(after=back) if has_following and back else None,
            count(self.index, view.wanted),
        )

    def card(self, key: str) -> Card:
        """Return an image with all that counts of it."""
        return self._card(key, None)

    def history(self, key: str) -> list[Description | Review]:
        """Return every answer and every decision about an image, the oldest first."""
        events: list[Description | Review] = [*self.store.attempts_at(key), *self.store.reviews(key)]
        return sorted(events, key=lambda event: event.created_at)

    def decide(self, text: Text, action: Action, words: str = "") -> Text:
        """Store a decision and return the description as it counts from now on.

        Raises:
            ConfigError: an edit has no text.
            ArtifactError: the set cannot be written.
        """
        one = text.now
        with self._deciding:
            now = self._now(one)  # another answer may have come since it was shown
            review = Review.of(now, action, self.config.author, words)
            self.store.add_reviews([review])
            self.num_decided[action] = self.num_decided.get(action, 0) + 1
            self.index.refresh(one.key)
            return self._text(self._now(one), self.store.reviews(one.key))

    def progress(self) -> tuple[int, int]:
        """Return how many rows are indexed, and how many there are."""
        return self.index.progress()

    def _page_by_meaning(self, view: View, meaning: Meaning) -> Shown:
        ranked = meaning.ranked(view.meaning.strip())
        known, found = slots(self.index), list[Card]()
        num_needed = view.skip + PAGE_SIZE + 1
        while len(found) < num_needed and (part := dict(islice(ranked, _AT_ONCE))):
            for key, ids in matching(self.index, view.wanted, list(part)).items():
                wanted = {known[number % SLOTS] for number in ids}
                # only what is shown is read
                skipped = len(found) < view.skip
                card = Card(key, "", "", []) if skipped else self._card(key, wanted)
                found.append(replace(card, likeness=part[key]))
        return Shown(
            found[view.skip : view.skip + PAGE_SIZE],
            view.at_front(skip=max(0, view.skip - PAGE_SIZE)) if view.skip else None,
            view.at_front(skip=view.skip + PAGE_SIZE) if len(found) >= num_needed else None,
            None,
        )

    def _card(self, key: str, wanted: set[tuple[int, int, int]] | None) -> Card:
        name, class_name = self.store.image(key) or ("", "")
        rows = self.store.current(key)
        chosen = [row for row in rows if wanted is None or (row.prompt, row.describer, row.sample) in wanted]
        reviews = self.store.reviews(key)
        return Card(key, name, class_name, [self._text(row, reviews) for row in chosen])

    def _text(self, row: Description, reviews: Sequence[Review]) -> Text:
        names = self._names(row)
        found = [review for review in reviews if _slot(review) == _slot(row)]
        last = found[-1] if found and found[-1].holds(row.attempt) else None
        return Text(row, *names, edited=last is not None and last.action == "edit", decided=last is not None)

    def _names(self, row: Description) -> tuple[str, str]:
        if row.describer not in self._describers or row.prompt not in self._prompts:  # one that came since
            self._describers = {number: info.identifier for number, info in self.store.describers().items()}
            self._prompts = {number: prompt.name for number, prompt in self.store.prompts().items()}
        return self._describers.get(row.describer, "?"), self._prompts.get(row.prompt, "?")

    def _now(self, row: Description) -> Description:
        for found in self.store.current(row.key):
            if _slot(found) == _slot(row):
                return found
        raise ArtifactError("This description is gone from the set. Load the page again.")

    def _warm_up(self, meaning: Meaning) -> None:
        with contextlib.suppress(SightwordsError):  # a search tells it
            meaning.warm_up()

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


@dataclass(frozen=True)
class View:
    """Filter, order and place.

    Attributes:
        wanted: which descriptions.
        meaning: a sentence; images are in the order of their texts' likeness to it then.
        order: of images, where no sentence is given.
        after: where the page before ends.
        before: where the page behind begins, to go back.
        skip: images before the page, where a sentence is given.
    """

    wanted: Filter = field(default_factory=Filter)
    meaning: str = ""
    order: Order = "newest"
    after: Place | None = None
    before: Place | None = None
    skip: int = 0

    def at_front(self, **changes: Any) -> View:
        """Return the first page of another view."""
        return replace(self, **{"after": None, "before": None, "skip": 0, **changes})

    def query(self) -> str:
        """Return the view as the query of an address, empty for the default."""
        wanted = self.wanted
        fields = {
            "q": wanted.words,
            "like": self.meaning,
            "class": wanted.class_name,
            "status": wanted.status,
            "reason": wanted.reason,
            "clip_score": wanted.clip_score_below,
            "same": wanted.same_as,
            "order": None if self.order == "newest" else self.order,
            "after": _place_text(self.after),
            "before": _place_text(self.before),
            "skip": self.skip or None,
        }
        return urlencode({name: value for name, value in fields.items() if value not in (None, "")})


def read_view(query: Mapping[str, str]) -> View:
    """Return the view of an address; what makes no sense there is left out."""
    status, order = query.get("status"), query.get("order")
    wanted = Filter(
        query.get("q", ""),
        query.get("class") or None,
        status if status in get_args(Status) else None,  # type: ignore[arg-type]
        query.get("reason") or None,
        _number(query.get("clip_score")),
        _whole(query.get("same")),
    )
    return View(
        wanted,
        query.get("like", ""),
        order if order in get_args(Order) else "newest",  # type: ignore[arg-type]
        _place(query.get("after")),
        _place(query.get("before")),
        max(0, _whole(query.get("skip")) or 0),
    )


def _place_text(place: Place | None) -> str | None:
    return f"{place[0]!r},{place[1]}" if place else None


def _place(text: str | None) -> Place | None:
    first, _, second = (text or "").partition(",")
    clip_score, number = _number(first), _whole(second)
    return None if clip_score is None or number is None else (clip_score, number)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _whole(text: str | None) -> int | None:
    try:
        value = int(text or "")
    except ValueError:
        return None
    return value if -(2**63) <= value < 2**63 - 65_536 else None
