"""Ask a describer about everything that has no good answer yet, and commit each answer as it arrives."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sightwords.descriptions.budget import Budget, Limits, Spent
from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.cost import Price, make_forecast, read_price
from sightwords.descriptions.describers import make_describer
from sightwords.descriptions.describers.base import Describer
from sightwords.descriptions.interruption import Interruption
from sightwords.descriptions.prompts import choose_prompt, read_confusions
from sightwords.descriptions.questions import ClassTargets, ImageTargets, Targets, Wanted, questions, spread
from sightwords.descriptions.schema import Prompt
from sightwords.descriptions.session import Checks, Session
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import DataError, ModelError
from sightwords.files import lock
from sightwords.images.dataset import Dataset, Problem, Split, open_dataset
from sightwords.images.subset import stratified
from sightwords.licenses import describer_part, warn_of_use
from sightwords.progress import Progress, duration

_NUM_SHOWN = 5
_NUM_REASONS = 12


@dataclass(frozen=True)
class Reason:
    """Why answers were rejected or requests failed, counted over the whole set.

    Attributes:
        status: `rejected` or `failed`; `ok` for answers that are usable with a remark.
        reason: in a few words.
        count: number of attempts.
        image: name of one image.
        text: the answer for it, empty where there was none.
    """

    status: str
    reason: str
    count: int
    image: str
    text: str


@dataclass
class DescribeResult:
    """Counts of one run; an image asked for K samples counts K times.

    Attributes:
        out: the description set.
        describer: who was asked, the ID without secrets.
        prompt: name of the prompt.
        num_ok: new usable descriptions.
        num_rejected: descriptions that no attempt of this run made usable.
        num_failed: requests that got no answer; the same command asks them again.
        num_skipped: descriptions that were there before.
        num_answers: answers that came, those asked again included.
        num_unreadable: descriptions of images that turned out to be damaged; they are told with the problems.
        problems: images that cannot be read, with reasons.
        reasons: of all attempts by this describer and prompt in the set, most frequent first.
        stopped: why the run ended before everything was asked, empty where it did not.
        forecast: what the whole will take, lines of text; of a pilot.
        page: the page that shows a pilot's sample.
        next_command: the command that uses what was written.
        seconds: time of the run.
    """

    out: Path
    describer: str
    prompt: str
    num_ok: int = 0
    num_rejected: int = 0
    num_failed: int = 0
    num_skipped: int = 0
    num_answers: int = 0
    num_unreadable: int = 0
    problems: list[Problem] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    stopped: str = ""
    forecast: list[str] = field(default_factory=list)
    page: Path | None = None
    next_command: str = ""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        embeddings = self.out.with_name(f"{self.out.stem}-embeddings")
        self.next_command = shlex.join(["sightwords", "embed", str(self.out), "--out", str(embeddings)])

    @property
    def num_problems(self) -> int:
        """Number of images that cannot be read."""
        return len(self.problems)

    def count(self, counts: Mapping[str, int]) -> None:
        """Take over the number of descriptions of each status."""
        self.num_ok, self.num_rejected, self.num_failed = (counts.get(s, 0) for s in ("ok", "rejected", "failed"))

    def summary(self) -> str:
        """Return what was done, lines for people."""
        there = f", {self.num_skipped} were there already" if self.num_skipped else ""
        lines = [
            f"Wrote {self.num_ok} descriptions by {self.describer} (prompt {self.prompt}) to {self.out} "
            f"in {duration(self.seconds)}{there}."
        ]
        lines += reason_table(self.reasons)
        if self.num_failed:
            lines.append(f"The same command asks again for the {self.num_failed} that failed.")
        if self.num_rejected:
            lines.append(f"With --retry-failed the {self.num_rejected} without a usable answer get new tries.")
        lines += self._unreadable()
        if self.stopped:
            lines.append(f"Stopped: {self.stopped} Everything that arrived is stored.")
        lines += self.forecast
        if self.page:
            lines.append(f"Look at the sample: {self.page}")
        return "\n".join(lines)

    def _unreadable(self) -> list[str]:
        if not self.problems:
            return []
        one = self.num_problems == 1
        images = "1 image cannot be read and has" if one else f"{self.num_problems} images cannot be read and have"
        lines = [f"{images} no description:"]
        lines += [f"  {problem.name}: {problem.reason}" for problem in self.problems[:_NUM_SHOWN]]
        if self.num_problems > _NUM_SHOWN:
            lines.append(f"  and {self.num_problems - _NUM_SHOWN} more")
        return lines


def reason_table(reasons: Sequence[Reason]) -> list[str]:
    """Return the reasons as an aligned table with an example each, a line a row; none where there is no reason."""
    if not reasons:
        return []
    head = ("Count", "Status", "Reason", "For example")
    rows = [(str(r.count), r.status, _cut(r.reason, 60), _example(r)) for r in reasons[:_NUM_REASONS]]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [f"  {n:>{widths[0]}}  {s:<{widths[1]}}  {r:<{widths[2]}}  {e}".rstrip() for n, s, r, e in (head, *rows)]
    if len(reasons) > _NUM_REASONS:
        lines.append(f"  and {len(reasons) - _NUM_REASONS} further reasons")
    return lines


def _example(reason: Reason) -> str:
    return f"{reason.image}: {_cut(reason.text, 60)}" if reason.text else reason.image


def _cut(text: str, width: int) -> str:
    line = " ".join(text[: 4 * width].split())
    return line if len(line) <= width else f"{line[: width - 3]}..."


# these repeat what is known already: whatever they say is right, however short, and many images may share it
_UNFILTERED = ("demo", "class_name")


def describe(config: DescribeConfig) -> DescribeResult:
    """Describe the images that lack a usable description by this describer and prompt.

    Under torchrun every process asks for its share of the images.

    Args:
        config: what to describe, by whom, and where to write.

    Raises:
        ConfigError: an option is not allowed.
        DataError: the images cannot be used, or the prompt names the class and an image has none.
        ArtifactError: the set cannot be written, is damaged, or another process asks the same; what had arrived is
            stored.
        ModelError: the describer cannot be had or used; what had arrived is stored.
        KeyboardInterrupt: the user stopped it; what had arrived is stored.
    """
    start_s = time.monotonic()
    dataset = open_dataset(config, ("train", "val") if config.split == "all" else (config.split,))
    prompt = _prompt(config, dataset)
    parts = wanted_images(dataset, config.split)
    check_labels(parts, prompt)
    describer = make_describer(config, sees_images=not prompt.per_class)
    info = describer.info()
    warn_of_use([describer_part(info.identifier)], config.use, config.licenses)
    price = read_price(config.prices, info.model) if config.prices else None
    result = DescribeResult(config.out, info.identifier, prompt.name, problems=list(dataset.problems))
    with DescriptionSet(config.out, create=True) as store:
        wanted = Wanted(
            store.add_prompt(prompt),
            store.add_describer(info),
            config.samples,
            config.tries,
            config.retry_failed,
            time.time(),
        )
        job = Job(config, dataset, parts, prompt, describer, store, wanted, price)
        with lock(job.lock_name, f"Another process asks the same for {config.out}. Wait for it, or stop it first."):
            job.run(result)
    result.seconds = time.monotonic() - start_s
    return result


def wanted_images(dataset: Dataset, split: str) -> list[Split]:
    """Return the images of a split, or of all splits that have any.

    Raises:
        DataError: there are none.
    """
    if split != "all":
        return [dataset.split(split)]
    return [images for images in dataset.splits.values() if len(images)]


def check_labels(images: list[Split], prompt: Prompt) -> None:
    """Refuse a prompt that names the class where an image has none.

    Raises:
        DataError: at least one image has no label.
    """
    if not prompt.names_class:
        return
    bare = [part.reference(int(i)).name for part in images for i in (part.first_labels() < 0).nonzero()[0]]
    if bare:
        raise DataError(
            f"The prompt {prompt.name} names the class, but {len(bare)} of {sum(map(len, images))} images have no "
            f"label, for example {bare[0]}. Label them, or use a prompt without the class, such as plain."
        )


def _prompt(config: DescribeConfig, dataset: Dataset) -> Prompt:
    named = config.confusions
    confusions = read_confusions(named, dataset.class_ids, dataset.class_names) if named else {}
    return choose_prompt(config, confusions)


class Job:
    """One run of the stage on an open set.

    Args:
        config: the options.
        dataset: the user's images.
        parts: those to describe.
        prompt: what is asked.
        describer: who is asked.
        store: where answers go.
        wanted: which descriptions.
        price: what the model costs, where known.
    """

    def __init__(
        self,
        config: DescribeConfig,
        dataset: Dataset,
        parts: list[Split],
        prompt: Prompt,
        describer: Describer,
        store: DescriptionSet,
        wanted: Wanted,
        price: Price | None,
    ) -> None:
        self.config, self.dataset, self.prompt, self.describer = config, dataset, prompt, describer
        self.store, self.wanted, self.price = store, wanted, price
        self.rank, self.num_shares = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.everything = self._targets(parts)
        pilot = config.pilot
        self.targets = self._targets(_sample(parts, pilot)) if pilot else self.everything

    @property
    def rows(self) -> tuple[int, int]:
        """Row ids of prompt and describer."""
        return self.wanted.prompt, self.wanted.describer

    @property
    def lock_name(self) -> str:
        """What no other process may do at the same time."""
        return f"describe {self.config.out.resolve()} {self.rows} {self.rank}"

    def run(self, result: DescribeResult) -> None:
        """Ask, score, and fill in the result."""
        self.store.add_images(self.everything.images())
        if isinstance(self.everything, ClassTargets):
            spread(self.store, self.everything, self.wanted)
        total = self.config.samples * len(self.targets)
        num_missing = sum(1 for _ in questions(self.store, self.targets, self.wanted))
        result.num_skipped = total - num_missing
        with Interruption(self.config.grace_s, show=self.rank == 0) as interruption:
            if num_missing:
                self._ask(result, total, interruption.requested)
            if self.config.clip_score and not self.prompt.per_class and not interruption.requested():
                self._score(interruption.requested)
            if interruption.requested():
                raise KeyboardInterrupt
        self._conclude(result)

    def _ask(self, result: DescribeResult, total: int, stopping: Callable[[], bool]) -> None:
        budget = self._budget()
        with Progress("Describing", total, "descriptions", done=result.num_skipped, enabled=self.rank == 0) as progress:
            session = Session(
                self.describer,
                self.prompt,
                self.store,
                self.targets,
                self.wanted,
                self._checks(),
                budget,
                progress,
                stopping,
            )
            try:
                session.ask_all()
            except ModelError as error:
                raise type(error)(f"{error} {self._stored()}") from None
            except KeyboardInterrupt:
                progress.message(f"Stopped. {self._stored()}")
                raise
            if stopping():
                progress.message(f"Stopped. {self._stored()}")
        result.stopped = budget.exhausted
        result.num_answers = session.num_answers
        result.problems += session.problems.values()
        result.num_unreadable = session.num_unreadable

    def _conclude(self, result: DescribeResult) -> None:
        counts = self.store.counts(*self.rows, since=self.wanted.since)
        counts["failed"] = counts.get("failed", 0) - result.num_unreadable
        result.count(counts)
        result.reasons = [Reason(*row) for row in self.store.reasons(*self.rows)]
        if self.config.pilot and self.rank == 0:
            self._show_pilot(result)

    def _show_pilot(self, result: DescribeResult) -> None:
        from sightwords.descriptions.pilot import forecast_lines, pilot_answers, write_pilot_page

        num_left = sum(1 for _ in questions(self.store, self.everything, self.wanted))
        answers = pilot_answers(self.store, self.rows, self.targets)
        forecast = make_forecast([attempts for _, attempts in answers], self.wanted.since, num_left, self.price)
        result.forecast = [*forecast_lines(forecast), "The same command without --pilot asks for the others."]
        result.next_command = ""
        result.page = self.config.out.with_name(f"{self.config.out.stem}-pilot.html")
        title = f"Pilot of {self.config.out.name}"
        write_pilot_page(result.page, title, answers, forecast, self.prompt, result.describer)

    def _score(self, stopping: Callable[[], bool]) -> None:
        from sightwords.descriptions.clip_score import ClipScorer, score_descriptions

        assert self.config.clip_score is not None
        scorer = ClipScorer(self.config.clip_score, self.config.device)
        score_descriptions(self.store, self.rows, self.targets, scorer, self.config.batch_size, stopping)

    def _targets(self, parts: list[Split]) -> Targets:
        if self.prompt.per_class:  # a few questions: the first process asks them all
            return ClassTargets(ImageTargets(parts if self.rank == 0 else [], self.dataset.class_names))
        return ImageTargets(parts, self.dataset.class_names, (self.rank, self.num_shares))

    def _checks(self) -> Checks:
        config = self.config
        if config.describer in _UNFILTERED:
            return Checks(None)
        return Checks(config.filter_rules, None if self.prompt.per_class else config.max_same)

    def _budget(self) -> Budget:
        """Return the limits that remain; processes share them equally."""
        config = self.config
        limits = Limits(config.max_requests, config.max_tokens, config.max_cost)
        if limits == Limits():
            return Budget(limits, self.price, Spent(), config.max_new_tokens)
        spent = Spent.of(self.store.usage(*self.rows))
        if self.num_shares > 1:
            limits = limits.part(spent, self.price, self.num_shares)
        return Budget(limits, self.price, spent, config.max_new_tokens)

    def _stored(self) -> str:
        """Return how many descriptions the set holds and how to go on."""
        num_stored = sum(self.store.counts(*self.rows).get(status, 0) for status in ("ok", "rejected"))
        return f"{num_stored} descriptions are stored in {self.config.out}; the same command goes on from there."


def _sample(parts: list[Split], num_images: int) -> list[Split]:
    """Return about `num_images` images, of each split and class its share, so that they stand for all."""
    num_all = sum(map(len, parts))
    shares = [max(1, round(num_images * len(part) / num_all)) for part in parts]
    return [part.subset(stratified(part, share, proportional=True)) for part, share in zip(parts, shares, strict=True)]
