"""How fast is a network evaluated, from JPEG files on? Against timm's validation loop.

    python benchmarks/evaluation.py --model resnet10t --image-size 224 --images 256 --repeats 5

The same network, files, input size (resize, center crop, bicubic), batch and threads; accuracies in both. `timm` is its
loader with prefetcher and what its validate.py does in a step; `sightwords` is the pass of `sightwords evaluate`.
`loader` is either's without the network.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from timm.data import create_dataset, create_loader
from timm.utils import AverageMeter, accuracy
from torch import Tensor

from pairs import in_turn, machine, ratio, table
from photos import write_photos
from sightwords.evaluation.config import EvaluateConfig
from sightwords.evaluation.evaluate import outputs
from sightwords.evaluation.metrics import single_label_metrics
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.images.loader import eval_loader
from sightwords.models import Backbone, build_backbone, normalize_images
from sightwords.models.inference import TrainedNetwork, eval_transform
from sightwords.models.run_folder import NetworkInfo, RunFolder

BATCH = 64
NUM_CLASSES = 8
Ways = dict[str, Callable[[], object]]


def ways_of(folder: Path, model: str, image_size: int) -> Ways:
    """Return the passes over the validation images."""
    backbone = build_backbone(model, NUM_CLASSES, image_size)
    backbone.eval()
    spec = backbone.input_spec
    images = open_dataset(ImagesConfig(str(folder)), show=False).split("val")
    run = RunFolder(folder.parent / "run")
    run.start({}, _info(backbone, image_size))
    run.save_weights(backbone.network.state_dict())
    network = TrainedNetwork(run, "cpu")
    config = EvaluateConfig(run.folder, str(folder), batch_size=BATCH, workers=0, device="cpu")

    def timm_batches() -> Iterable[tuple[Tensor, Tensor]]:
        loader: Iterable[tuple[Tensor, Tensor]] = create_loader(
            create_dataset("", root=str(folder), split="val"),
            (3, image_size, image_size),
            BATCH,
            interpolation="bicubic",
            crop_pct=0.875,
            num_workers=0,
            persistent_workers=False,
            device=torch.device("cpu"),
        )
        return loader

    @torch.inference_mode()
    def timm_pass() -> None:
        losses, top1, top5 = AverageMeter(), AverageMeter(), AverageMeter()
        for batch, labels in timm_batches():
            output = backbone.network(batch)
            found1, found5 = accuracy(output, labels, topk=(1, 5))
            losses.update(F.cross_entropy(output, labels).item(), len(batch))
            top1.update(found1.item(), len(batch))
            top5.update(found5.item(), len(batch))

    def own_pass() -> None:
        found = outputs(network, images, NUM_CLASSES, config)
        single_label_metrics(found.logits, found.labels)

    def own_loader() -> None:
        for batch in eval_loader(images, NUM_CLASSES, eval_transform(network.info), BATCH):
            normalize_images(batch.images, spec.mean, spec.std)

    return {
        "timm": timm_pass,
        "sightwords": own_pass,
        "loader, timm": lambda: list(map(len, timm_batches())),
        "loader, sightwords": own_loader,
    }


def _info(backbone: Backbone, image_size: int) -> NetworkInfo:
    classes = [str(i) for i in range(NUM_CLASSES)]
    return NetworkInfo(
        model=backbone.identifier,
        model_kwargs={},
        factory_kwargs=backbone.kwargs,
        num_classes=NUM_CLASSES,
        class_ids=classes,
        class_names=classes,
        multi_label=False,
        image_size=image_size,
        interpolation="bicubic",
        crop_pct=0.875,
        mean=backbone.input_spec.mean,
        std=backbone.input_spec.std,
    )


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Print the table; return images per second by way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="resnet10t")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, nargs=2, default=(500, 375), help="width and height of the files")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["SIGHTWORDS_CACHE"] = f"{temporary}/cache"
        # write_photos makes a quarter as many validation images
        folder = write_photos(Path(temporary) / "photos", 4 * options.images, tuple(options.size))
        timings = in_turn(ways_of(folder, options.model, options.image_size), options.repeats)
    rates = {name: options.images / sorted(timing.wall_s)[options.repeats // 2] for name, timing in timings.items()}
    peers = {"sightwords": "timm", "loader, sightwords": "loader, timm"}
    rows = [
        (name, f"{rate:.0f}", ratio(timings[peers.get(name, name)].wall_s, timings[name].wall_s))
        for name, rate in rates.items()
    ]
    print(machine())
    print(f"{options.model} at {options.image_size} px, {options.threads} threads, {options.repeats} rounds\n")
    print(table(("way", "images/s", "times timm"), rows))
    return rates


if __name__ == "__main__":
    main()
