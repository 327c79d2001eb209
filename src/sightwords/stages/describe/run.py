"""Ask a describer about everything that has no good answer yet, and commit each answer as it arrives."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from sightwords.artifacts.description_set import DescriptionSet, Prompt
from sightwords.data.catalog import Catalog, open_catalog
from sightwords.data.image_set import ImageSet
from sightwords.data.sample import stratified
from sightwords.errors import DataError, ModelError
from sightwords.files import lock
from sightwords.license import describer_part, warn_of_use
from sightwords.progress import Progress
from sightwords.stages.describe.config import DescribeConfig
from sightwords.stages.describe.confusion import read_confusions
from sightwords.stages.describe.cost.budget import Budget, Limits, Spent
from sightwords.stages.describe.cost.prices import Price, read_prices
from sightwords.stages.describe.describers import make_describer
from sightwords.stages.describe.describers.base import Describer
from sightwords.stages.describe.interruption import Interruption
from sightwords.stages.describe.prompts import choose_prompt
from sightwords.stages.describe.quality import Rules
from sightwords.stages.describe.result import DescribeResult, Reason
from sightwords.stages.describe.session import Checks, Session
from sightwords.stages.describe.target import ClassTargets, ImageTargets, Targets, Wanted, questions, spread

# these repeat what is known already: whatever they say is right, however short, and many images may share it
_UNJUDGED = ("demo", "class_name")


def run(config: DescribeConfig) -> DescribeResult:
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
    catalog = open_catalog(config, ("train", "val") if config.split == "all" else (config.split,))
    prompt = _prompt(config, catalog)
    parts = wanted_images(catalog, config.split)
    check_labels(parts, prompt)
    describer = make_describer(config, sees_images=not prompt.per_class)
    info = describer.info()
    warn_of_use([describer_part(info.identifier)], config.use, config.licenses)
    price = read_prices(config.prices).of(info.model) if config.prices else None
    result = DescribeResult(config.out, info.identifier, prompt.name, problems=list(catalog.problems))
    with DescriptionSet(config.out, create=True) as store:
        wanted = Wanted(
            store.add_prompt(prompt),
            store.add_describer(info),
            config.samples,
            config.tries,
            config.retry_failed,
            time.time(),
        )
        job = Job(config, catalog, parts, prompt, describer, store, wanted, price)
        with lock(job.lock_name, f"Another process asks the same for {config.out}. Wait for it, or stop it first."):
            job.run(result)
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


def _prompt(config: DescribeConfig, catalog: Catalog) -> Prompt:
    named = config.confusions
    confusions = read_confusions(named, catalog.class_ids, catalog.class_names) if named else {}
    return choose_prompt(config, confusions)


class Job:
    """One run of the stage on an open set.

    Args:
        config: the options.
        catalog: the user's images.
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
        catalog: Catalog,
        parts: list[ImageSet],
        prompt: Prompt,
        describer: Describer,
        store: DescriptionSet,
        wanted: Wanted,
        price: Price | None,
    ) -> None:
        self.config, self.catalog, self.prompt, self.describer = config, catalog, prompt, describer
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
            if self.config.agreement and not self.prompt.per_class and not interruption.requested():
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
        from sightwords.stages.describe.pilot.pilot import forecast_pilot, write_pilot_page

        num_total = self.config.samples * len(self.everything)
        num_left = sum(1 for _ in questions(self.store, self.everything, self.wanted))
        forecast = forecast_pilot(self.store, self.wanted, self.targets, num_total, num_left, self.price)
        result.forecast = [*forecast.lines(), "The same command without --pilot asks for the others."]
        result.next_command = ""
        result.page = self.config.out.with_name(f"{self.config.out.stem}-pilot.html")
        write_pilot_page(result.page, forecast, self.store, self.rows, self.targets, self.prompt, result.describer)

    def _score(self, stopping: Callable[[], bool]) -> None:
        from sightwords.stages.describe.agreement import open_scorer, score_agreement

        assert self.config.agreement is not None
        scorer = open_scorer(self.config.agreement, self.config.device)
        score_agreement(self.store, self.rows, self.targets, scorer, self.config.batch_size, stopping)

    def _targets(self, parts: list[ImageSet]) -> Targets:
        if self.prompt.per_class:  # a few questions: the first process asks them all
            return ClassTargets(ImageTargets(parts if self.rank == 0 else [], self.catalog.class_names))
        return ImageTargets(parts, self.catalog.class_names, (self.rank, self.num_shares))

    def _checks(self) -> Checks:
        config = self.config
        if config.describer in _UNJUDGED:
            return Checks(None)
        rules = Rules(config.min_words, config.max_words, config.on_cut, config.language)
        return Checks(rules, self.catalog.class_names, None if self.prompt.per_class else config.max_same)

    def _budget(self) -> Budget:
        """Return the limits that remain; processes share them equally."""
        config = self.config
        limits = Limits(config.max_requests, config.max_tokens, config.max_cost)
        if limits == Limits():
            return Budget(limits, self.price, Spent(), config.max_new_tokens)
        spent = Spent.of(self.store.usage(*self.rows))
        if self.num_shares > 1:
            limits = limits.share(spent, self.price, self.num_shares)
        return Budget(limits, self.price, spent, config.max_new_tokens)

    def _stored(self) -> str:
        """Return how many descriptions the set holds and how to go on."""
        num_stored = sum(self.store.counts(*self.rows).get(status, 0) for status in ("ok", "rejected"))
        return f"{num_stored} descriptions are stored in {self.config.out}; the same command goes on from there."


def _sample(parts: list[ImageSet], num_images: int) -> list[ImageSet]:
    """Return about `num_images` images, of each split and class its share, so that they stand for all."""
    num_all = sum(map(len, parts))
    shares = [max(1, round(num_images * len(part) / num_all)) for part in parts]
    return [part.subset(stratified(part, share, proportional=True)) for part, share in zip(parts, shares, strict=True)]
