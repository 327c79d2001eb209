"""Ask a describer about every image that has no answer yet, and commit each answer as it arrives."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from sightwords.artefacts.description_set import Description, DescriptionSet, Prompt
from sightwords.data.catalog import Catalog, ImageSet, Problem, open_catalog
from sightwords.data.key import Member, image_key
from sightwords.errors import DataError, ModelError, UnavailableError, UnreadableImageError
from sightwords.progress import Progress
from sightwords.stages.describe.config import DescribeConfig
from sightwords.stages.describe.describers import make_describer
from sightwords.stages.describe.describers.base import Answer, Describer, Request
from sightwords.stages.describe.prefetch import prefetch
from sightwords.stages.describe.prompts import file_prompt, named_prompt
from sightwords.stages.describe.result import DescribeResult

# This many failures one after another are the describer's fault, not the images'.
MAX_FAILURES_IN_A_ROW = 20


@dataclass(frozen=True, slots=True)
class Target:
    """One distinct image to describe; several files with the same bytes are one."""

    key: str
    member: Member
    class_name: str


@dataclass(frozen=True)
class Unreadable:
    """Why an image cannot be shown to the describer.

    Attributes:
        reason: in a few words.
        key_holds: whether the bytes were those of the key, so that the reason may be stored under it.
    """

    reason: str
    key_holds: bool = False


def run(config: DescribeConfig) -> DescribeResult:
    """Describe the images that lack a description by this describer and prompt.

    Args:
        config: what to describe, by whom, and where to write.

    Raises:
        ConfigError: an option is not allowed.
        DataError: the images cannot be used, or the prompt names the class and an image has none.
        ModelError: the describer cannot be had or used; what had arrived is stored.
        KeyboardInterrupt: the user stopped it; what had arrived is stored.
    """
    start_s = time.monotonic()
    prompt = file_prompt(config.prompt_file) if config.prompt_file else named_prompt(config.prompt, config.word_limit)
    describer = make_describer(config)
    info = describer.info()
    catalog = open_catalog(config, ("train", "val") if config.split == "all" else (config.split,))
    images = wanted_images(catalog, config.split)
    check_labels(images, prompt)
    result = DescribeResult(config.out, info.identifier, prompt.name, problems=list(catalog.problems))
    with DescriptionSet(config.out, create=True) as store:
        rows = (store.add_prompt(prompt), store.add_describer(info))
        names = catalog.class_names
        store.add_images((t.key, t.member.name, t.class_name) for t in distinct_targets(images, names))
        present = store.answered(*rows, config.retry_failed)
        total = config.samples * sum(1 for _ in distinct_targets(images, names))
        todo = missing(distinct_targets(images, names), present, config.samples)
        num_missing = sum(len(samples) for _, samples in todo)
        result.num_skipped = total - num_missing
        with Progress("Describing", total, "descriptions", done=result.num_skipped) as progress:
            session = Session(describer, prompt, store, rows, result, progress)
            session.ask_all(missing(distinct_targets(images, names), present, config.samples), num_missing)
    result.seconds = time.monotonic() - start_s
    return result


def wanted_images(catalog: Catalog, split: str) -> list[ImageSet]:
    """Return the images of a split, or of all splits that have any.

    Raises:
        DataError: there are none.
    """
    if split != "all":
        return [catalog.split(split)]
    return [images for images in catalog.splits.values() if len(images)]


def check_labels(images: list[ImageSet], prompt: Prompt) -> None:
    """Refuse a prompt that names the class where an image has none.

    Raises:
        DataError: at least one image has no label.
    """
    if not prompt.names_class:
        return
    bare = [part.member(int(i)).name for part in images for i in (part.first_labels() < 0).nonzero()[0]]
    if bare:
        raise DataError(
            f"The prompt {prompt.name} names the class, but {len(bare)} of {sum(map(len, images))} images have no "
            f"label, for example {bare[0]}. Label them, or use a prompt without the class, such as plain."
        )


def distinct_targets(images: list[ImageSet], class_names: list[str]) -> Iterator[Target]:
    """Yield every distinct image once; made anew at each pass, because a million of them are large."""
    seen: set[str] = set()
    for part in images:
        for i in range(len(part)):
            key = part.key(i)
            if key not in seen:
                seen.add(key)
                yield Target(key, part.member(i), ", ".join(class_names[label] for label in part.labels(i)))


def missing(
    targets: Iterator[Target], present: set[tuple[str, int]], num_samples: int
) -> Iterator[tuple[Target, list[int]]]:
    """Yield the images that lack samples, with the samples that they lack."""
    for target in targets:
        samples = [sample for sample in range(num_samples) if (target.key, sample) not in present]
        if samples:
            yield target, samples


class Session:
    """One run's writing side: every answer goes through `store_answer`, one committed transaction each."""

    def __init__(
        self,
        describer: Describer,
        prompt: Prompt,
        store: DescriptionSet,
        rows: tuple[int, int],
        result: DescribeResult,
        progress: Progress,
    ) -> None:
        self.describer, self.prompt, self.store, self.rows = describer, prompt, store, rows
        self.result, self.progress = result, progress
        self.num_failed_in_a_row = 0

    def ask_all(self, todo: Iterator[tuple[Target, list[int]]], num_missing: int) -> None:
        """Ask for everything in `todo`; without anything to ask the describer is not even loaded."""
        if not num_missing:
            return
        try:
            with closing(self.requests(todo)) as requests, closing(self.describer.describe(requests)) as answers:
                for answer in answers:
                    self.store_answer(answer)
        except ModelError as error:
            raise type(error)(f"{error} {self.stored_so_far()}") from None
        except KeyboardInterrupt:
            self.progress.message(f"Stopped. {self.stored_so_far()}")
            raise

    def requests(self, todo: Iterator[tuple[Target, list[int]]]) -> Generator[Request]:
        """Yield the requests, pictures prepared ahead; images that cannot be read are counted instead."""
        prepare: Callable[[tuple[Target, list[int]]], object] = self.prepare
        with closing(prefetch(prepare, todo, self.describer.num_ahead)) as prepared:
            for (target, samples), picture in prepared:
                name, text = target.member.name, self.prompt.text(target.class_name)
                asked = [Request(target.key, sample, name, self.prompt.name, text, picture) for sample in samples]
                if isinstance(picture, Unreadable):
                    self.leave_out(asked, picture)
                else:
                    yield from asked

    def prepare(self, item: tuple[Target, list[int]]) -> object:
        """Return an image's picture as the describer wants it, or why there is none; runs in threads."""
        target, _ = item
        try:
            data = target.member.read()
        except OSError as error:
            return Unreadable(error.strerror or str(error))
        if image_key(data) != target.key:
            return Unreadable("changed since it was listed; run the same command again")
        try:
            return self.describer.prepare(data, target.member.name)
        except UnreadableImageError as error:
            return Unreadable(error.reason, key_holds=True)

    def leave_out(self, requests: list[Request], unreadable: Unreadable) -> None:
        """Count an unreadable image; where its bytes are what the key says, remember that in the set."""
        self.result.problems.append(Problem(requests[0].name, unreadable.reason))
        if unreadable.key_holds:
            reason = f"unreadable image: {unreadable.reason}"
            self.store.put([self.row(Answer(request, "", "failed", reason)) for request in requests])
        self.progress.advance(len(requests))

    def store_answer(self, answer: Answer) -> None:
        """Commit one answer, count it and show it.

        Raises:
            UnavailableError: too many requests in a row failed.
        """
        self.store.put([self.row(answer)])
        self.result.count(answer)
        self.progress.advance(note=_glimpse(answer))
        self.num_failed_in_a_row = self.num_failed_in_a_row + 1 if answer.status == "failed" else 0
        if self.num_failed_in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise UnavailableError(
                f"{self.num_failed_in_a_row} requests in a row got no answer; the last one, for "
                f"{answer.request.name}: {answer.reason}."
            )

    def row(self, answer: Answer) -> Description:
        """Return the row of the description set that holds an answer."""
        prompt, describer = self.rows
        request = answer.request
        return Description(
            request.key,
            prompt,
            describer,
            request.sample,
            answer.text,
            answer.status,
            answer.reason,
            answer.num_prompt_tokens,
            answer.num_text_tokens,
            answer.seconds,
        )

    def stored_so_far(self) -> str:
        """Return how many descriptions the set holds and how to go on."""
        num_stored = self.result.num_ok + self.result.num_rejected + self.result.num_skipped
        return f"{num_stored} descriptions are stored in {self.result.out}; the same command goes on from there."


def _glimpse(answer: Answer) -> str:
    text = " ".join((answer.text or f"{answer.status}: {answer.reason}").split())
    return text if len(text) <= 60 else f"{text[:57]}..."
