"""Does the text help small networks, and is it the meaning? Six unlike networks, four arms and more, several seeds.

    python benchmarks/proof/run.py photos --images garments --classes names.csv --out proof-garments
    python benchmarks/proof/run.py birds --out proof-birds       # drawn birds, made here
    python benchmarks/proof/run.py emoji --images emoji-3 --out proof-emoji    # see benchmarks/emoji

`photos` is any folder of train/CLASS/*, val/CLASS/* and descriptions.csv (image,text). Its networks are trained on all
labels, on half of them wrong and on a tenth of them, without text and with, and, in OUT/no-labels, on what `sightwords
label` makes of the descriptions and class names alone, beside all labels without text.

Makes images, descriptions and text vectors where they are missing, and runs `sightwords compare`; the report lies in
OUT/comparison/report.html. Everything resumes. What follows `--` goes to `sightwords compare`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
MODELS = sorted((HERE / "models").glob("*.yaml"))
ARMS = ["baseline", "aligned", str(HERE / "paper.yaml"), "class_name", "shuffled"]
RECIPES: dict[str, list[object]] = {
    "birds": ["--image-size", 64],
    "emoji": ["--image-size", 32],
    "photos": ["--image-size", 48, "--label-noise", 0.5, "--label-fraction", 0.1],
}
EPOCHS = {"birds": 60, "emoji": 16, "photos": 16}  # as long as the machine allowed
# of the arm `aligned` and its controls: with weight 0.8, the best on drawn birds, emoji lost (docs/experiments.md)
ALIGNED = ["--align.weighting", "gradient_balanced", "--align.weight", "0.5", "--align.targets", "centered"]
PHOTOS_ARMS = ["baseline", str(HERE / "corrected.yaml")]
SHARED: list[object] = ["--batch-size", 64, "--warmup-epochs", 3, "--augment.crop-scale", 0.75]
SHARED += ["--workers", 0, "--channels-last", "--cache-gb", 2]  # twice as fast on processors


def sightwords(*arguments: object) -> None:
    """Run one command of sightwords, as a user would."""
    print("$ sightwords", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "sightwords", *map(str, arguments)], check=True)


def text_of(images: Path, out: Path) -> tuple[Path, Path]:
    """Import the descriptions and embed them; return the description set and the embedding set."""
    database, vectors = out / "descriptions.db", out / "embeddings"
    if not vectors.exists():
        sightwords("import", images / "descriptions.csv", "--images", images, "--out", database)
        sightwords("embed", database, "--encoder", "builtin:minilm", "--out", vectors)
    return database, vectors


def compare_without_labels(given: argparse.Namespace, vectors: Path, options: Sequence[object]) -> None:
    """Label by descriptions and class names, and train on these labels beside the real ones."""
    labels, arm = given.out / "labels.csv", given.out / "no_labels.yaml"
    names = ["--classes", given.classes] if given.classes else []
    sightwords("label", given.images, "--embeddings", vectors, *names, "--ignore-labels", "--out", labels)
    arm.write_text(f"labels: {labels.resolve()}\n", encoding="utf-8")
    further = [*options, "--arms", "baseline", arm, "--out", given.out / "no-labels"]
    sightwords("compare", given.images, "--embeddings", vectors, "--image-size", 48, *further)


def at_64(model: str, out: Path) -> str:
    """Return CoAtNet's file with an input of 64 pixels, for it takes multiples of 32 alone; others as they are."""
    if Path(model).stem != "test_coatnet":
        return model
    wide = out / "test_coatnet.yaml"
    wide.write_text(f"{Path(model).read_text(encoding='utf-8').rstrip()}\nimage_size: 64\n", encoding="utf-8")
    return str(wide)


def draw_birds(folder: Path) -> None:
    """Draw 24 species, 24 training and 60 validation images of each."""
    sys.path.append(str(HERE.parent))
    from birds.dataset import write_birds

    write_birds(folder, num_train=24, num_val=60, image_size=64)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the whole."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("set", choices=RECIPES, help="which images")
    parser.add_argument("--images", type=Path, help="the photographs, or the emoji as benchmarks/emoji made them")
    parser.add_argument("--classes", type=Path, help="of photographs, the names of the classes")
    parser.add_argument("--out", type=Path, required=True, help="folder of everything")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--comparison", default="comparison", help="name of its folder in --out")
    parser.add_argument("--arms", nargs="+")
    parser.add_argument("--models", nargs="+", default=[str(model) for model in MODELS])
    given, further = parser.parse_known_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    images = given.images or given.out / "images"
    if given.set == "birds":
        draw_birds(images)
    database, vectors = text_of(images, given.out)
    is_photos = given.set == "photos"
    models = [at_64(model, given.out) for model in given.models] if is_photos else given.models
    options = ["--models", *models, "--seeds", given.seeds, "--descriptions", database, *SHARED]
    options += ["--epochs", given.epochs or EPOCHS[given.set], *([] if is_photos else ALIGNED)]
    options += [one for one in further if one != "--"]
    arms = given.arms or (PHOTOS_ARMS if is_photos else ARMS)
    own = ["--arms", *arms, "--out", given.out / given.comparison, *RECIPES[given.set]]
    sightwords("compare", images, "--embeddings", vectors, *options, *own)
    if is_photos:
        compare_without_labels(given, vectors, options)


if __name__ == "__main__":
    main()
