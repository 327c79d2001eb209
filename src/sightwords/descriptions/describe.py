"""`sightwords describe`: ask a describer about everything that has no good answer yet."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sightwords.descriptions.budget import Budget, Limits, Price, read_price
from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describers import make_describer
from sightwords.descriptions.prompts import choose_prompt
from sightwords.descriptions.questions import Targets, Wanted, missing, spread
from sightwords.descriptions.schema import Prompt, Reason, Spent
from sightwords.descriptions.session import Session, glimpse
from sightwords.descriptions.store import DescriptionSet, embed_command
from sightwords.errors import DataError, ModelError
from sightwords.files import lock
from sightwords.images.dataset import Problem, Split, open_dataset
from sightwords.images.subset import stratified
from sightwords.licenses import describer_part, warn_of_use
from sightwords.progress import Progress, duration

_NUM_SHOWN = 5
_NUM_REASONS = 12


@dataclass
class DescribeResult:
    """Counts of one run; an image asked for K samples counts K times.

    Attributes:
        out: the description set.
        describer: who was asked, the ID without secrets.
        prompt: name of the prompt.
        num_ok: new descriptions.
        num_rejected: descriptions of which every answer of this run was rejected.
        num_failed: requests that got no answer; the same command asks them again.
        num_skipped: descriptions that were there before.
        problems: images that cannot be read, with reasons.
        reasons: why answers by this describer and prompt were rejected or failed, over all runs, most frequent first.
        stopped: why the run ended before everything was asked, empty where it did not.
        forecast: of a pilot, what the whole will take, lines of text.
        page: the page that shows a pilot's sample.
        seconds: time of the run.
    """

    out: Path
    describer: str
    prompt: str
    num_ok: int = 0
    num_rejected: int = 0
    num_failed: int = 0
    num_skipped: int = 0
    problems: list[Problem] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    stopped: str = ""
    forecast: list[str] = field(default_factory=list)
    page: Path | None = None
    seconds: float = 0.0

    @property
    def next_command(self) -> str:
        """The command that uses what was written; none after a pilot, whose page is to be looked at first."""
        return "" if self.page else embed_command(self.out)

    def summary(self) -> str:
        """Return what was done, lines for people."""
        there = f", {self.num_skipped} were there already" if self.num_skipped else ""
        lines = [
            f"Wrote {self.num_ok} descriptions by {self.describer} (prompt {self.prompt}) to {self.out} "
            f"in {duration(self.seconds)}{there}."
        ]
        lines += reason_table(self.reasons) if self.reasons else []
        if self.num_failed:
            lines.append(f"The same command asks again for the {self.num_failed} that failed.")
        if self.num_rejected:
            lines.append(f"With --retry-failed the {self.num_rejected} that were rejected get new tries.")
        if self.problems:
            lines.append(f"Images that cannot be read and have no description: {len(self.problems)}, such as")
            lines += [f"  {problem.name}: {problem.reason}" for problem in self.problems[:_NUM_SHOWN]]
        if self.stopped:
            lines.append(f"Stopped: {self.stopped} Everything that arrived is stored.")
        lines += self.forecast
        if self.page:
            lines.append(f"Look at the sample: {self.page}")
        return "\n".join(lines)


def reason_table(reasons: Sequence[Reason]) -> list[str]:
    """Return the reasons as an aligned table with an example each, a line a row."""
    rows = [("Count", "Status", "Reason", "For example")]
    for r in reasons[:_NUM_REASONS]:
        example = f"{r.image}: {glimpse(r.text)}" if r.text else r.image
        rows.append((str(r.count), r.status, glimpse(r.reason), example))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [f"  {n:>{widths[0]}}  {s:<{widths[1]}}  {r:<{widths[2]}}  {e}".rstrip() for n, s, r, e in rows]


def describe(config: DescribeConfig, stopping: Callable[[], bool] = lambda: False) -> DescribeResult:
    """Describe the images that lack a description by this describer and prompt.

    Under torchrun every process asks for its part of the images.

    Args:
        config: what to describe, by whom, and where to write.
        stopping: asked often; once it returns True, the answers in flight are waited for and nothing more is asked.

    Raises:
        ConfigError: an option is not allowed.
        DataError: the images cannot be used, or the prompt names the class and an image has none.
        ArtifactError: the set cannot be written, is damaged, or another process asks the same; what had arrived is
            stored.
        ModelError: the describer cannot be had or used; what had arrived is stored.
        KeyboardInterrupt: `stopping` returned True, or the user pressed Ctrl-C; what had arrived is stored.
    """
    start_s = time.monotonic()
    dataset = open_dataset(config, ("train", "val") if config.split == "all" else (config.split,))
    prompt = choose_prompt(config, dataset.class_ids, dataset.class_names)
    splits = [s for s in dataset.splits.values() if len(s)] if config.split == "all" else [dataset.split(config.split)]
    _check_labels(splits, prompt)
    describer = make_describer(config, sees_images=not prompt.per_class)
    info = describer.info()
    warn_of_use([describer_part(info.identifier)], config.use, config.licenses)
    price = read_price(config.prices, info.model) if config.prices else None
    part = rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    targets_of = partial(Targets, class_names=dataset.class_names, per_class=prompt.per_class, part=part)
    everything = targets_of(splits)
    result = DescribeResult(config.out, info.identifier, prompt.name, problems=list(dataset.problems))
    with DescriptionSet(config.out, create=True) as store:
        rows = store.add_prompt(prompt), store.add_describer(info)
        name = f"describe {config.out.resolve()} {rows} {rank}"
        with lock(name, f"Another process asks the same for {config.out}. Wait for it, or stop it first."):
            session = Session(
                config=config,
                store=store,
                describer=describer,
                prompt=prompt,
                targets=targets_of(_sample(splits, config.pilot)) if config.pilot else everything,
                wanted=Wanted(rows, config.samples, config.tries, config.retry_failed, time.time()),
                budget=_budget(config, store, price, rows, world_size),
                stopping=stopping,
            )
            _run(session, everything, result, show=rank == 0)
            if config.pilot and rank == 0:
                _show_pilot(session, everything, price, result)
    result.seconds = time.monotonic() - start_s
    return result


def _check_labels(splits: list[Split], prompt: Prompt) -> None:
    """Refuse a prompt that names the class where an image has none."""
    if not prompt.names_class:
        return
    bare = [split.reference(int(i)).name for split in splits for i in (split.first_labels() < 0).nonzero()[0]]
    if bare:
        raise DataError(
            f"The prompt {prompt.name} names the class, but {len(bare)} of {sum(map(len, splits))} images have no "
            f"label, for example {bare[0]}. Label them, or use a prompt without the class, such as plain."
        )


def _sample(splits: list[Split], num_images: int) -> list[Split]:
    """Return about `num_images` images, of each split and class its part, so that they stand for all."""
    num_all = sum(map(len, splits))
    counts = [max(1, round(num_images * len(split) / num_all)) for split in splits]
    return [split.subset(stratified(split, n, proportional=True)) for split, n in zip(splits, counts, strict=True)]


def _budget(
    config: DescribeConfig, store: DescriptionSet, price: Price | None, rows: tuple[int, int], world_size: int
) -> Budget:
    """Return the limits that remain; processes divide them equally."""
    limits = Limits(config.max_requests, config.max_tokens, config.max_cost)
    spent = Spent() if limits == Limits() else store.spent(*rows)
    if world_size > 1:
        limits = limits.part(spent, price, world_size)
    return Budget(limits, price, spent, config.max_new_tokens)


def _run(session: Session, everything: Targets, result: DescribeResult, show: bool) -> None:
    """Ask, score and count."""
    store, wanted = session.store, session.wanted
    store.add_images((image.key, image.name, image.class_name) for image in everything.images())
    if session.prompt.per_class:
        spread(store, everything, wanted)
    _ask(session, result, show)
    model = session.config.clip_score
    if model and not session.prompt.per_class and not session.stopping():
        from sightwords.descriptions.clip_score import ClipScorer, score_descriptions

        scorer = ClipScorer(model, session.config.device)
        score_descriptions(store, wanted.rows, session.targets, scorer, session.config.batch_size, session.stopping)
    if session.stopping():
        raise KeyboardInterrupt
    counts = store.counts(*wanted.rows, since=wanted.since)
    result.num_ok, result.num_rejected = counts.get("ok", 0), counts.get("rejected", 0)
    result.num_failed = counts.get("failed", 0) - session.num_unreadable
    result.reasons = store.reasons(*wanted.rows)


def _ask(session: Session, result: DescribeResult, show: bool) -> None:
    total = session.wanted.num_samples * len(session.targets)
    num_missing = sum(1 for _ in missing(session.store, session.targets, session.wanted))
    result.num_skipped = total - num_missing
    if not num_missing:
        return
    with Progress("Describing", total, "descriptions", done=result.num_skipped, enabled=show) as progress:
        try:
            session.ask_all(progress)
            if session.stopping():
                raise KeyboardInterrupt
        except ModelError as error:
            raise type(error)(f"{error} {_stored(session)}") from None
        except KeyboardInterrupt:
            progress.message(f"Stopped. {_stored(session)}")
            raise
    result.stopped = session.budget.exhausted
    result.problems += session.problems.values()


def _stored(session: Session) -> str:
    counts = session.store.counts(*session.wanted.rows)
    number = counts.get("ok", 0) + counts.get("rejected", 0)
    return f"{number} descriptions are stored in {session.store.path}; the same command goes on from there."


def _show_pilot(session: Session, everything: Targets, price: Price | None, result: DescribeResult) -> None:
    from sightwords.descriptions.pilot import forecast_lines, make_forecast, pilot_answers, write_pilot_page

    wanted = session.wanted
    num_left = sum(1 for _ in missing(session.store, everything, wanted))
    answers = pilot_answers(session.store, wanted.rows, session.targets)
    forecast = make_forecast([attempts for _, attempts in answers], wanted.since, num_left, price)
    result.forecast = [*forecast_lines(forecast), "The same command without --pilot asks for the others."]
    result.page = result.out.with_name(f"{result.out.stem}-pilot.html")
    write_pilot_page(result.page, f"Pilot of {result.out.name}", answers, forecast, session.prompt, result.describer)
