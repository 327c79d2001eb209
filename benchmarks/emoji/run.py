"""Does the text help on real pictures with human-written descriptions? The whole pipeline, arms x seeds, one table.

    python benchmarks/emoji/prepare.py --out emoji
    python benchmarks/emoji/run.py emoji --out emoji-runs

Arms: `baseline` (no text), `aligned` (CLDR name and keywords), and the controls `class_name` (the label's name as the
only text) and `shuffled` (the descriptions permuted among the training images). All arms share recipe, seeds, order
and augmentation. Everything resumes: a finished run is not trained again.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scipy.stats import t as student_t

ARMS = ("baseline", "aligned", "class_name", "shuffled")


def sightwords(*arguments: object) -> None:
    """Run one command of sightwords, as a user would."""
    command = [sys.executable, "-m", "sightwords", *map(str, arguments)]
    print("$ sightwords", *arguments, flush=True)
    subprocess.run(command, check=True)


def write_control(arm: str, images: Path, out: Path) -> Path:
    """Write the descriptions of an arm as CSV: the real ones, or a control's, for the training images."""
    with (images / "descriptions.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["image"].startswith("train/")]
    texts = [row["text"] for row in rows]
    if arm == "class_name":
        texts = [row["image"].split("/")[1].replace("-", " ") for row in rows]
    elif arm == "shuffled":
        random.Random(0).shuffle(texts)
    path = out / f"{arm}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "text"])
        writer.writerows(zip([row["image"] for row in rows], texts, strict=True))
    return path


def embeddings_of(arm: str, images: Path, out: Path) -> Path:
    """Import and embed the texts of an arm; return the embedding set."""
    folder = out / f"{arm}-embeddings"
    if not folder.exists():
        source, database = write_control(arm, images, out), out / f"{arm}.db"
        sightwords("import", source, "--images", images, "--out", database)
        sightwords("embed", database, "--encoder", "builtin:minilm", "--out", folder)
    return folder


def accuracy(arm: str, seed: int, options: argparse.Namespace) -> float:
    """Train and evaluate one arm with one seed; return top-1."""
    run = options.out / f"{arm}-{seed}"
    text = [] if arm == "baseline" else ["--embeddings", embeddings_of(arm, options.images, options.out)]
    recipe = ["--model", options.model, "--image-size", options.image_size, "--epochs", options.epochs]
    recipe += [
        "--batch-size",
        64,
        "--lr",
        options.lr,
        "--augment.crop-scale",
        0.5,
        "--augment.flip",
        0.5,
        "--eval-every",
        options.epochs,
    ]
    if not (run / "evaluation" / "metrics.json").exists():
        sightwords("train", options.images, *text, *recipe, "--seed", seed, "--out", run, "--resume")
        sightwords("evaluate", run, options.images)
    return float(json.loads((run / "evaluation" / "metrics.json").read_text())["top1"])


def interval(values: Sequence[float]) -> str:
    """Return mean and half width of the 95% interval over seeds (Student's t), in points."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{100 * mean:+.2f}"
    half = student_t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{100 * mean:+.2f} ± {100 * half:.2f}"


def table(results: dict[str, list[float]], seeds: Sequence[int]) -> str:
    """Return the results as Markdown."""
    lines = [
        "| arm | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean | against the baseline, 95% interval |"
    ]
    lines.append("|---" * (len(seeds) + 3) + "|")
    for arm, values in results.items():
        gains = [value - base for value, base in zip(values, results["baseline"], strict=True)]
        cells = [f"{100 * value:.2f}" for value in [*values, statistics.mean(values)]]
        lines.append(f"| {arm} | {' | '.join(cells)} | {interval(gains) if arm != 'baseline' else ''} |")
    return "\n".join(lines)


def main() -> None:
    """Run all arms and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="what prepare.py made")
    parser.add_argument("--out", type=Path, default=Path("emoji-runs"), help="folder for everything")
    parser.add_argument("--model", default="resnet10t")
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS[1:], default=list(ARMS[1:]), help="beside the baseline")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    arms = ["baseline", *options.arms]
    results = {arm: [accuracy(arm, seed, options) for seed in options.seeds] for arm in arms}
    recipe = f"{options.model} at {options.image_size} px from scratch, {options.epochs} epochs"
    print(f"\nTop-1 on emoji never seen, {recipe}\n")
    print(table(results, options.seeds))


if __name__ == "__main__":
    main()
