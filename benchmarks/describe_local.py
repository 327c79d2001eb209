"""How fast are descriptions by a local model, next to a bare loop around `generate`?

    python benchmarks/describe_local.py [--images 64] [--batch-size 8] [--repeats 5] [--device cpu]

Compared, on the same images (drawn here, of four sizes), with the same model (SmolVLM-shaped, random weights, made
here) and the same batches:

- bare: images decoded, then for each batch the processor, `generate` and `batch_decode`, nothing else
- describer: `HFDescriber`, from the bytes of the files to the answers; its model is loaded before the clock starts
- describe: `sightwords.describe`, from a folder to the committed description set; what it takes to load the model is
  measured apart and taken off, because the bare loop does not count it either

Bare loop and describer take turns batch by batch, so that a machine that slows down slows both; `describe`, which
cannot be halted in between, runs after them in each repeat. Ratios are those of a repeat, bare / arm: of the wall
clock, and of the processor time that this process took, which says more where others use the machine too (and the
model runs on the CPU). "outside" is the wall-clock time that an arm spends outside the model's `generate`: all that
this package adds, and what little can be gained. The answers of all arms are checked to be the same.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the models and images are those of the tests

import torch  # noqa: E402

import sightwords  # noqa: E402
from sightwords.descriptions.config import DescribeConfig  # noqa: E402
from sightwords.descriptions.describers.base import Decoding, Request  # noqa: E402
from sightwords.descriptions.describers.hf import HFDescriber, like_batches  # noqa: E402
from sightwords.descriptions.describers.hf_generation import LoadedModel  # noqa: E402
from sightwords.images.decode import thumbnail  # noqa: E402
from support.images import CLASSES, draw  # noqa: E402
from support.tiny_vlm import build_smolvlm  # noqa: E402

QUESTION = "Describe this image in detail."
SIDES = (96, 128, 176, 240)  # pixels
# the language model of SmolVLM-256M and SmolLM2-135M without its vocabulary: 106 million weights, 212 MFLOP a token
TEXT = {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "head_dim": 64,
}  # fmt: skip
VISION = {
    "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 6,
    "image_size": 128, "patch_size": 32,
}  # fmt: skip
Clock = tuple[float, float]  # seconds of the wall clock, and of processor time
NOTHING: Clock = (0.0, 0.0)
SMALL_TEXT = {"num_hidden_layers": 2}


def now() -> Clock:
    """Return both clocks."""
    return time.perf_counter(), time.process_time()


def since(start: Clock) -> Clock:
    """Return what passed on both clocks."""
    return time.perf_counter() - start[0], time.process_time() - start[1]


@dataclass
class Spent:
    """What an arm took in one repeat, in seconds: wall clock, processor time, and wall clock within `generate`."""

    wall_s: float = 0.0
    work_s: float = 0.0
    generating_s: float = 0.0

    def add(self, passed: Clock, uncounted: Clock, generating_s: float) -> None:
        """Add a step."""
        self.wall_s += passed[0] - uncounted[0]
        self.work_s += passed[1] - uncounted[1]
        self.generating_s += generating_s


@dataclass
class Bench:
    """What all arms share.

    Attributes:
        model: folder of the model.
        files: image files.
        decoding: how answers are drawn.
        batch_size: images at once.
        device: where the model runs.
        describer: what is measured, its model loaded.
        network: the bare loop's own model.
        processor: the bare loop's own processor.
        plan: the files in the batches that the describer makes of them.
        generating: what `generate` took since this was last set to 0.
        answers: arm -> file name -> text.
    """

    model: Path
    files: list[Path]
    decoding: Decoding
    batch_size: int
    device: str
    describer: HFDescriber = field(init=False)
    network: Any = field(init=False)
    processor: Any = field(init=False)
    plan: list[list[Path]] = field(init=False)
    generating: float = 0.0
    answers: dict[str, dict[str, str]] = field(default_factory=dict)

    def load(self) -> None:
        """Load the models of the bare loop and of the describer."""
        from transformers import AutoModelForImageTextToText, AutoProcessor

        config = DescribeConfig(
            "unused",
            out=Path("unused.db"),
            max_new_tokens=self.decoding.max_new_tokens,
            max_side=self.decoding.max_side,
            batch_size=self.batch_size,
            device=self.device,
        )
        self.describer = HFDescriber(str(self.model), config)
        loaded = self.describer.load()
        self.describer.load = lambda: loaded  # type: ignore[method-assign]
        self.processor = AutoProcessor.from_pretrained(self.model)
        self.processor.tokenizer.padding_side = "left"
        self.processor.image_processor.size = loaded.processor.image_processor.size  # as many tiles
        network = AutoModelForImageTextToText.from_pretrained(self.model, dtype=loaded.network.dtype)
        self.network = network.to(loaded.network.device).eval()
        self.watch(loaded.network)
        self.watch(self.network)
        by_name, requests, window = {f.name: f for f in self.files}, self.requests(), self.describer.num_ahead // 2
        windows = iter(lambda: list(islice(requests, window)), [])
        batches = (batch for some in windows for batch in like_batches(some, self.batch_size))
        self.plan = [[by_name[request.name] for request in batch] for batch in batches]

    def requests(self) -> Iterator[Request]:
        """Yield the questions, decoding each image when it is asked for."""
        for file in self.files:
            image = thumbnail(file.read_bytes(), file.name, self.decoding.max_side)
            yield Request(file.name, 0, 0, file.name, "", QUESTION, image)

    def watch(self, network: Any) -> None:
        """Have a model's `generate` count its time."""
        generate = network.generate

        def counted(**inputs: Any) -> Any:
            start = now()
            output = generate(**inputs)
            self.generating += since(start)[0]
            return output

        network.generate = counted

    def note(self, arm: str, texts: dict[str, str]) -> None:
        """Remember answers.

        Raises:
            AssertionError: an arm that ran before gave others.
        """
        self.answers.setdefault(arm, {}).update(texts)
        for other in self.answers.values():
            assert all(other.get(name, text) == text for name, text in texts.items()), f"{arm} gives other answers"


def bare_arm(bench: Bench) -> Iterator[Clock]:
    """Run the bare loop, which knows nothing of sightwords; yield after each batch."""
    network, processor, side = bench.network, bench.processor, bench.decoding.max_side
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    options = {"padding": True, "add_special_tokens": False, "return_tensors": "pt"}
    for batch in bench.plan:
        images = [[thumbnail(file.read_bytes(), file.name, side)] for file in batch]
        texts = processor.apply_chat_template([turn] * len(batch), add_generation_prompt=True, tokenize=False)
        inputs = processor(images=images, text=texts, **options).to(network.device, dtype=network.dtype)
        with torch.inference_mode():
            tokens = network.generate(**inputs, max_new_tokens=bench.decoding.max_new_tokens, do_sample=False)
        answers = processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        bench.note("bare", {file.name: text for file, text in zip(batch, answers, strict=True)})
        yield NOTHING


def describer_arm(bench: Bench) -> Iterator[Clock]:
    """Run the describer over all images; yield after each batch."""
    answers = bench.describer.describe(bench.requests(), lambda: False)
    for batch in bench.plan:
        given = list(islice(answers, len(batch)))
        assert all(answer.status == "ok" for answer in given)
        bench.note("describer", {answer.request.name: answer.text for answer in given})
        yield NOTHING
    assert next(answers, None) is None


def describe_arm(bench: Bench) -> Iterator[Clock]:
    """Run the whole stage; yield once, what it took to load the model, which does not count."""
    loading: list[Clock] = []
    load = HFDescriber.load

    def timed(describer: HFDescriber) -> LoadedModel:
        start = now()
        model = load(describer)
        bench.watch(model.network)
        loading.append(since(start))
        return model

    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        config = DescribeConfig(
            str(bench.files[0].parents[2]), out=Path(folder) / "answers.db", describer=f"hf:{bench.model}",
            max_new_tokens=bench.decoding.max_new_tokens, max_side=bench.decoding.max_side, tries=1, min_words=1,
            batch_size=bench.batch_size, device=bench.device, language="any",
        )  # fmt: skip
        with contextlib.redirect_stderr(nowhere), mock.patch.object(HFDescriber, "load", timed):
            result = sightwords.describe(config)
    assert result.num_ok + result.num_rejected == len(bench.files), result
    yield loading[0]


Arm = Callable[[Bench], Iterator[Clock]]


def draw_images(root: Path, count: int) -> list[Path]:
    """Write JPEG files root/train/CLASS/N.jpg of several sizes; return them."""
    files = []
    for i in range(count):
        name = list(CLASSES)[i % len(CLASSES)]
        file = root / "train" / name / f"{i:04d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(name, i, SIDES[(i * 7) % len(SIDES)]).save(file, quality=90)
        files.append(file)
    return files


def compare(arms: dict[str, Arm], bench: Bench, repeats: int) -> dict[str, list[Spent]]:
    """Return what each arm took in each repeat; arms that yield take turns."""
    spent: dict[str, list[Spent]] = {name: [] for name in arms}
    for repeat in range(-1, repeats):  # the first round only warms up
        running = {name: arm(bench) for name, arm in arms.items()}
        total = {name: Spent() for name in arms}
        while running:
            for name in list(running):
                bench.generating, start = 0.0, now()
                uncounted = next(running[name], None)
                total[name].add(since(start), uncounted or NOTHING, bench.generating)
                if uncounted is None:
                    del running[name]
            running = dict(reversed(running.items()))  # who goes first changes with every turn
        if repeat >= 0:
            for name in arms:
                spent[name].append(total[name])
    return spent


def report(spent: dict[str, list[Spent]], num_images: int) -> dict[str, Clock]:
    """Print a table and return each arm's median ratios to the bare loop, of both clocks."""
    ratios = {}
    print(
        f"{'arm':<10}{'wall s':>8}{'images/s':>10}{'ratio':>7}{'processor s':>13}{'ratio':>7}{'outside s':>11}   ratios"
    )
    for name, each in spent.items():
        wall = [bare.wall_s / own.wall_s for bare, own in zip(spent["bare"], each, strict=True)]
        work = [bare.work_s / own.work_s for bare, own in zip(spent["bare"], each, strict=True)]
        ratios[name] = median(wall), median(work)
        wall_s, work_s = median(own.wall_s for own in each), median(own.work_s for own in each)
        outside_s = median(own.wall_s - own.generating_s for own in each)
        line = f"{name:<10}{wall_s:>8.2f}{num_images / wall_s:>10.2f}{ratios[name][0]:>7.3f}{work_s:>13.2f}"
        line += f"{ratios[name][1]:>7.3f}{outside_s:>11.3f}   "
        print(line + "  ".join(f"{a:.3f} {b:.3f}" for a, b in zip(wall, work, strict=True)))
    return ratios


def main(arguments: list[str] | None = None) -> dict[str, Clock]:
    """Run the comparison; return the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--small", action="store_true", help="a model of 2 layers, to see that everything runs")
    parser.add_argument("--arms", nargs="+", default=["bare", "describer", "describe"], metavar="ARM")
    options = parser.parse_args(arguments)
    arms: dict[str, Arm] = {"bare": bare_arm, "describer": describer_arm, "describe": describe_arm}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SIGHTWORDS_CACHE"] = str(Path(folder) / "cache")
        text = {**TEXT, **(SMALL_TEXT if options.small else {})}
        model = build_smolvlm(Path(folder) / "model", text=text, vision=VISION)
        files = draw_images(Path(folder) / "images", options.images)
        decoding = Decoding(max_new_tokens=options.max_new_tokens, max_side=128)
        bench = Bench(model, files, decoding, options.batch_size, options.device)
        bench.load()
        spent = compare({name: arms[name] for name in options.arms}, bench, options.repeats)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{options.images} images in batches of {options.batch_size}, up to {options.max_new_tokens} tokens each, "
        f"{bench.describer.device} with {torch.get_num_threads()} threads on {os.cpu_count()} cores; "
        f"load of the machine over 1, 5 and 15 minutes: {load}"
    )
    return report(spent, options.images)


if __name__ == "__main__":
    main()
