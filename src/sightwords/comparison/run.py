"""`sightwords compare`: does the text help, by how much, and is it the meaning?"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import sightwords
from sightwords.comparison.advice import RECIPE, Advice, advise, write_recipe
from sightwords.comparison.analysis import Analysis, analyze
from sightwords.comparison.cells import Cost, Plan, check_models, conditions_of, fit, jobs_of, model_name, training
from sightwords.comparison.config import CompareConfig
from sightwords.comparison.record import read_record
from sightwords.comparison.report.contents import report_data
from sightwords.comparison.report.figures import check_installed
from sightwords.comparison.report.page import write_report, write_tables
from sightwords.comparison.schedule import devices, do_all
from sightwords.errors import ConfigError
from sightwords.files import changes, lock, write_text
from sightwords.images.config import SUBSET_OPTIONS
from sightwords.images.dataset import Dataset, open_dataset
from sightwords.progress import duration, stopwatch
from sightwords.text.embedding_set import EmbeddingSet

TRIAL_STEPS = 12

# what may differ when a comparison goes on: further arms, networks, seeds and conditions are added to what is there
FREE = {"out", "models", "arms", "seeds", "clean", "hours", "parallel", *SUBSET_OPTIONS}
FREE |= {"descriptions", "workers", "device", "images", "train", "val", "embeddings"}


@dataclass(frozen=True)
class CompareResult:
    """What a comparison found.

    Attributes:
        out: its folder.
        report: the page.
        analysis: every figure.
        advice: what follows from them.
        notes: what was planned and left out.
        seconds: duration of this call.
    """

    out: Path
    report: Path
    analysis: Analysis
    advice: Advice
    notes: list[str]
    seconds: float

    def summary(self) -> str:
        """Return table, conclusions and advice."""
        lines = [self.analysis.table(), "", *self.analysis.conclusions, "", self.advice.text, *self.notes]
        lines.append(f"Wrote {self.out / RECIPE}.")
        return "\n".join([*lines, f"Took {duration(self.seconds)}; wrote {self.out}. Look at {self.report}"])

    @property
    def next_command(self) -> str:
        """What to run next."""
        return self.advice.command


def compare(config: CompareConfig) -> CompareResult:
    """Train every arm with every network and seed, measure, and say what the figures show.

    Raises:
        ConfigError: an option does not fit, or --out holds a comparison with other options.
        DataError: the images cannot be used.
        MissingExtraError: the report's plots cannot be drawn.
        SightwordsError: trainings failed; the others are kept.
    """
    check_installed()
    busy = f"Another comparison is running in {config.out}. Wait for it, or name another --out."
    with stopwatch() as seconds, lock(str(config.out.resolve()), busy):
        dataset = open_dataset(config)
        _claim(config, dataset)
        check_models(config, dataset)
        places = devices(config.device, config.parallel)
        plan = _plan(config, dataset, len(places))
        jobs = jobs_of(config, plan, dataset)
        do_all(list(jobs.values()), places)
        records = [read_record(cell, config.out) for cell in jobs]
        analysis = analyze(records)
        first = {(cell.model, cell.arm): job.train for cell, job in reversed(jobs.items())}
        advice = advise(analysis, config, first)
        write_recipe(config.out / RECIPE, advice)
        data = report_data(config, dataset, analysis, advice.text, plan.notes)
        report = write_report(config.out, data)
        write_tables(config.out, analysis)
    return CompareResult(config.out, report, analysis, advice, plan.notes, seconds[0])


def _claim(config: CompareConfig, dataset: Dataset) -> None:
    """Mark the folder with what all its trainings share, or check that it is the same.

    Images and vectors count by their content, wherever they lie.
    """
    path = config.out / "comparison.json"
    shared = {name: value for name, value in asdict(config).items() if name not in FREE}
    values = json.loads(json.dumps(shared, default=str))
    for name in ("train", "val"):
        values[f"{name} images"] = hashlib.sha256("\n".join(dataset.split(name).keys()).encode()).hexdigest()
    metas = [EmbeddingSet(folder).meta for folder in config.embeddings]
    values["embedding sets"] = [[meta["encoder"], meta["fingerprint"]] for meta in metas]
    if not path.exists():
        if config.out.exists() and any(config.out.iterdir()):
            raise ConfigError(f"{config.out} holds something that is not a comparison. Name another --out.")
        write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if changed := changes(before, values):
        raise ConfigError(
            f"{config.out} was begun otherwise: {changed}. Give the same options and images, or name another --out."
        )


def _plan(config: CompareConfig, dataset: Dataset, num_processes: int) -> Plan:
    """Return what is trained: all that was asked for, or what fits into --hours."""
    wanted = Plan(config.models, config.seeds, config.epochs, [])
    path = config.out / "plan.json"
    if config.hours is None:
        return wanted
    if path.exists():  # the time was planned when the comparison began
        return Plan.load(path)
    num_train, num_val = (len(dataset.split(name)) for name in ("train", "val"))
    costs = {model: _cost(config, model, num_train, num_val) for model in config.models}
    num_sets = sum(options.get("train_fraction", 1.0) for options in conditions_of(config).values())
    plan = fit(wanted, costs, len(config.arms) * num_sets, num_processes, 3600 * config.hours)
    plan.save(path)
    print("\n".join(plan.notes))
    return plan


def _cost(config: CompareConfig, model: str, num_train: int, num_val: int) -> Cost:
    """Measure what a network takes, by a short training of it."""
    trial = replace(training(config, model), epochs=1, train_fraction=1.0, eval_every=1, warmup_epochs=0.0)
    limit = min(num_train, TRIAL_STEPS * trial.batch_size)
    with stopwatch() as seconds:
        result = sightwords.train(replace(trial, limit=limit, out=config.out / "trials" / model_name(model)))
    rate = result.metrics["images_per_second"]
    measuring_s = max(0.0, seconds[0] - limit / rate) * num_val / max(1, min(limit, num_val))
    return Cost(num_train / rate, measuring_s)
