from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describers.base import Request
from sightwords.descriptions.describers.hf import HFDescriber, bound_tiles
from sightwords.descriptions.describers.hf_generation import LoadedModel
from sightwords.errors import ModelError
from support.ask_server import never
from support.images import draw
from support.tiny_vlm import TILE, build_llama, build_llava, build_smolvlm

FILES = [("disc", 32, "PNG"), ("square", 60, "JPEG"), ("bar", 100, "PNG"), ("disc", 48, "JPEG"), ("bar", 40, "PNG")]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Folder of a tiny text-only chat model."""
    return build_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


def requests(describer: HFDescriber, samples: tuple[int, ...] = (0,)) -> list[Request]:
    """Return questions of different lengths about images of different sizes."""
    asked = []
    for i, (class_name, size, kind) in enumerate(FILES):
        buffer = io.BytesIO()
        draw(class_name, i, size).save(buffer, kind)
        image = describer.prepare(buffer.getvalue(), f"{i}")
        text = "Describe this image in detail." + " What can be seen?" * i
        asked += [Request(f"{i}" * 64, sample, 0, f"{i}", "", text, image) for sample in samples]
    return asked


def describer_of(folder, batch_size: int = 2, sees_images: bool = True, **options) -> HFDescriber:
    options = {"max_new_tokens": 10, "device": "cpu", "batch_size": batch_size, **options}
    return HFDescriber(str(folder), DescribeConfig("photos", out=Path("d.db"), **options), sees_images)


def answers(folder, batch_size: int, samples: tuple[int, ...] = (0,), ahead=False, **options):
    describer = describer_of(folder, batch_size, **options)
    describer.encodes_ahead = ahead
    given = {(a.request.key[0], a.request.sample): a for a in describer.describe(requests(describer, samples), never)}
    assert len(given) == len(FILES) * len(samples)
    return given


def plain_answer(folder, content) -> tuple[str, int]:
    """Answer by an independent path: the processor's own chat template with its own tokenizing, and plain generate."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    loader = AutoModelForCausalLM if isinstance(content, str) else AutoModelForImageTextToText
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
        return_tensors="pt",
    )  # fmt: skip
    output = loader.from_pretrained(folder).generate(**inputs, max_new_tokens=10, do_sample=False)
    text = processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text.strip(), inputs["input_ids"].shape[1]


@pytest.mark.parametrize("model", ["llava", "smolvlm", "qwen2_vl"])
def test_batches_answer_as_plain_generate_does_one_by_one(model, request):
    folder = request.getfixturevalue(model)
    if model == "llava":
        settings = json.loads((folder / "generation_config.json").read_text())
        assert settings["do_sample"] is True  # which the answers must not follow
    given = answers(folder, 3)
    for asked in requests(describer_of(folder)):
        answer = given[asked.key[0], 0]
        content = [{"type": "image", "image": asked.image}, {"type": "text", "text": asked.text}]
        assert (answer.text.strip(), answer.num_prompt_tokens) == plain_answer(folder, content)
        assert answer.status == "ok"
        assert 1 <= answer.num_text_tokens <= 10
        assert answer.seconds > 0
    assert len({a.text for a in given.values()}) >= 4  # the image and the question matter


def class_questions() -> list[Request]:
    texts = ["What can be seen?", "What can be seen on a small red bird?", "Describe a pond.", "Describe two boats."]
    return [Request(f"class {i}", 0, 0, f"{i}", f"{i}", text, None) for i, text in enumerate(texts)]


@pytest.mark.parametrize("model", ["llava", "smolvlm", "qwen2_vl", "llama"])
def test_questions_about_classes_are_answered_without_an_image(model, request):
    folder = request.getfixturevalue(model)
    describer = describer_of(folder, 3, sees_images=False)
    assert describer.info().identifier == f"hf:tiny-{model.replace('_', '-')}"
    given = list(describer.describe(class_questions(), never))
    for answer in given:
        text = answer.request.text
        content = text if model == "llama" else [{"type": "text", "text": text}]
        assert (answer.text.strip(), answer.num_prompt_tokens) == plain_answer(folder, content)
    assert len({answer.text for answer in given}) >= 3


def test_samples_differ_repeat_and_depend_on_the_seed_but_not_on_the_batch(llava):
    first = answers(llava, 4, samples=(0, 1))
    again = answers(llava, 1, samples=(0, 1))
    other = answers(llava, 4, samples=(0, 1), seed=1)
    assert {k: a.text for k, a in first.items()} == {k: a.text for k, a in again.items()}
    for i in range(len(FILES)):
        assert first[str(i), 0].text == other[str(i), 0].text
        assert first[str(i), 0].text != first[str(i), 1].text
        assert first[str(i), 1].text != other[str(i), 1].text


def test_answers_of_one_batch_end_where_each_of_them_ends(tmp_path):
    folder = build_smolvlm(tmp_path / "brief", seed=4)
    single, batched = answers(folder, 1), answers(folder, 5)
    assert {k: (a.text, a.num_text_tokens) for k, a in batched.items()} == {
        k: (a.text, a.num_text_tokens) for k, a in single.items()
    }
    assert {a.num_text_tokens < 10: a.cut_at for a in batched.values()} == {True: None, False: 10}


def test_a_model_without_chat_template_is_asked_with_its_image_token(tmp_path):
    folder = build_llava(tmp_path / "bare", chat_template=False)
    single, batched = answers(folder, 1), answers(folder, 5)
    assert {k: a.text for k, a in batched.items()} == {k: a.text for k, a in single.items()}
    assert len({a.text for a in single.values()}) >= 3


def test_a_model_that_cannot_be_fetched_says_how_to_go_on():
    with pytest.raises(ModelError, match=r"hf:/path/to/folder.*server:MODEL@URL"):
        describer_of("nobody/no-such-model").info()


@pytest.mark.parametrize(
    ("kind", "sees_images", "reason"), [("llama", True, "cannot describe"), ("vit", False, "cannot answer")]
)
def test_a_model_of_another_kind_is_refused_before_its_weights_are_read(tmp_path, kind, sees_images, reason):
    (tmp_path / "config.json").write_text(f'{{"model_type": "{kind}"}}')
    with pytest.raises(ModelError, match=f"{kind} model.*{reason}"):
        describer_of(tmp_path, 1, sees_images).info()


def test_a_base_model_that_nobody_can_tell_how_to_ask_is_refused(tmp_path):
    folder = build_llama(tmp_path / "base", chat_template=False)
    describer = describer_of(folder, 2, False)
    with pytest.raises(ModelError, match=r"no chat template.*instruction-tuned"):
        list(describer.describe(class_questions(), never))


def test_code_from_a_model_folder_is_never_run(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig"}, "architectures": ["Evil"]}'
    )
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass EvilConfig: pass\n")
    with pytest.raises(ModelError, match="Cannot load"):
        describer_of(tmp_path, 1).info()
    assert not (tmp_path / "ran").exists()


def test_the_model_runs_in_the_precision_that_is_asked_for(llava):
    assert describer_of(llava, 2).dtype is torch.float32
    describer = describer_of(llava, precision="bf16")
    given = list(describer.describe(requests(describer), never))
    assert describer.dtype is torch.bfloat16
    assert len(given) == len(FILES)


def test_small_images_are_not_enlarged_into_many_tiles(smolvlm):
    from transformers import AutoProcessor

    def num_tiles(max_side: int, side: int) -> int:
        processor = AutoProcessor.from_pretrained(smolvlm)
        bound_tiles(processor, max_side)
        image = Image.new("RGB", (side, side))
        return processor(images=[[image]], text=["<image>"], return_tensors="pt")["pixel_values"].shape[1]

    assert num_tiles(10_000, TILE) == 17  # what the processor does by itself
    assert num_tiles(TILE, TILE) == num_tiles(8, TILE) == 1
    assert num_tiles(2 * TILE, 2 * TILE) == 5
    bounded, unbounded = (answers(smolvlm, 2, max_new_tokens=2, max_side=side) for side in (TILE, 512))
    assert max(a.num_prompt_tokens for a in bounded.values()) < min(a.num_prompt_tokens for a in unbounded.values())


@pytest.mark.parametrize(("model", "ahead"), [("smolvlm", False), ("qwen2_vl", True)])
def test_memory_that_runs_out_changes_no_answer(model, ahead, request, monkeypatch):
    folder = request.getfixturevalue(model)
    expected, sizes, answer = answers(folder, 1, samples=(0, 1)), [], LoadedModel.answer

    def cramped(self, inputs, batch, decoding):
        sizes.append(len(batch))
        if len(batch) > 2:
            torch.empty(2**60, dtype=torch.uint8)  # the CPU's allocator refuses this
        return answer(self, inputs, batch, decoding)

    monkeypatch.setattr(LoadedModel, "answer", cramped)
    given = answers(folder, 8, samples=(0, 1), ahead=ahead)
    assert {k: a.text for k, a in given.items()} == {k: a.text for k, a in expected.items()}
    assert sizes == [8, 4, 2, 2, 2, 2, 2]


def test_a_model_that_does_not_fit_while_loading_says_so(llava, monkeypatch):
    def crowded(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 140.00 GiB.")

    monkeypatch.setattr(torch.nn.Module, "to", crowded)
    describer = describer_of(llava, 2)
    with pytest.raises(ModelError, match=r"Cannot load.*Memory ran out: use --precision bf16"):
        list(describer.describe(requests(describer), never))
