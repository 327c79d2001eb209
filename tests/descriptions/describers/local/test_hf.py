from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from sightwords.descriptions.describers import hf_generation
from sightwords.descriptions.describers.base import Decoding, Request
from sightwords.descriptions.describers.hf import HFDescriber
from sightwords.descriptions.describers.hf_generation import encode
from sightwords.errors import ConfigError, ModelError
from support.images import draw
from support.tiny_vlm import TILE, build_llama, build_llava, build_smolvlm

FILES = [("disc", 32, "PNG"), ("square", 60, "JPEG"), ("bar", 100, "PNG"), ("disc", 48, "JPEG"), ("bar", 40, "PNG")]
DECODING = Decoding(max_new_tokens=10)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Folder of a tiny text-only chat model."""
    return build_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


def requests(describer: HFDescriber, samples: tuple[int, ...] = (0,)) -> list[Request]:
    """Return questions of different lengths about pictures of different sizes."""
    asked = []
    for i, (class_name, size, kind) in enumerate(FILES):
        buffer = io.BytesIO()
        draw(class_name, i, size).save(buffer, kind)
        picture = describer.prepare(buffer.getvalue(), f"{i}")
        text = "Describe this image in detail." + " What can be seen?" * i
        asked += [Request(f"{i}" * 64, sample, 0, f"{i}", "", "plain", text, picture) for sample in samples]
    return asked


def never() -> bool:
    return False


def answers(folder, batch_size: int, decoding: Decoding = DECODING, samples: tuple[int, ...] = (0,)):
    describer = HFDescriber(str(folder), decoding, batch_size, "cpu")
    given = {(a.request.key[0], a.request.sample): a for a in describer.describe(requests(describer, samples), never)}
    assert len(given) == len(FILES) * len(samples)
    return given


@pytest.mark.parametrize("model", ["llava", "smolvlm", "qwen2_vl"])
def test_batches_answer_as_single_questions_do(model, request):
    folder = request.getfixturevalue(model)
    single, batched = answers(folder, 1), answers(folder, 3)
    assert {k: a.text for k, a in batched.items()} == {k: a.text for k, a in single.items()}
    assert len({a.text for a in single.values()}) >= 4  # the picture and the question matter
    for key, answer in batched.items():
        assert answer.status == "ok"
        assert answer.num_prompt_tokens == single[key].num_prompt_tokens
        assert 1 <= answer.num_text_tokens <= 10
        assert "Describe this image" not in answer.text
        assert answer.seconds > 0
    if model == "qwen2_vl":
        return  # its number of picture tokens follows the picture's size
    counts = [single[str(i), 0].num_prompt_tokens for i in range(len(FILES))]
    assert [b - a for a, b in pairwise(counts)] == [5, 5, 5, 5]  # five more words each


@pytest.mark.parametrize("model", ["llava", "smolvlm", "qwen2_vl"])
def test_answers_are_those_of_plain_generate(model, request):
    """An independent path: the processor's own chat template with its own tokenizing, one image, greedy generate."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = request.getfixturevalue(model)
    processor = AutoProcessor.from_pretrained(folder)
    network = AutoModelForImageTextToText.from_pretrained(folder)
    ours = answers(folder, 2)
    for asked in requests(HFDescriber(str(folder), DECODING, 1, "cpu")):
        content = [{"type": "image", "image": asked.picture}, {"type": "text", "text": asked.text}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt",
        )  # fmt: skip
        output = network.generate(**inputs, max_new_tokens=10, do_sample=False)
        text = processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert ours[asked.key[0], 0].text == text.strip()


def test_pictures_of_like_size_share_a_batch(llava, monkeypatch):
    batches = []

    def note(processor, source, batch):
        batches.append([request.picture.width for request in batch])
        return encode(processor, source, batch)

    monkeypatch.setattr(hf_generation, "encode", note)
    answers(llava, 2)
    assert batches == [[32, 40], [48, 60], [100]]


def test_samples_differ_repeat_and_depend_on_the_seed_but_not_on_the_batch(llava):
    first = answers(llava, 4, samples=(0, 1, 2))
    again = answers(llava, 1, samples=(0, 1, 2))
    other = answers(llava, 4, Decoding(max_new_tokens=10, seed=1), samples=(0, 1, 2))
    assert {k: a.text for k, a in first.items()} == {k: a.text for k, a in again.items()}
    for i in range(len(FILES)):
        assert first[str(i), 0].text == other[str(i), 0].text
        assert len({first[str(i), sample].text for sample in (0, 1, 2)}) == 3
        assert first[str(i), 1].text != other[str(i), 1].text


def test_the_greedy_sample_does_not_follow_the_published_sampling_settings(llava):
    settings = json.loads((llava / "generation_config.json").read_text())
    assert settings["do_sample"] is True  # else this test shows nothing
    torch.manual_seed(1)
    first = answers(llava, 2)
    torch.manual_seed(2)
    assert {k: a.text for k, a in answers(llava, 2).items()} == {k: a.text for k, a in first.items()}


def test_an_answer_that_the_limit_cuts_says_so(llava):
    short = answers(llava, 2, Decoding(max_new_tokens=2))
    assert {(a.status, a.reason, a.cut_at) for a in short.values()} == {("ok", "", 2)}
    assert {a.num_text_tokens for a in short.values()} == {2}


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


def test_only_as_many_requests_are_taken_as_a_window_needs(llava):
    describer = HFDescriber(str(llava), DECODING, 1, "cpu")
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield from requests(describer)[:1]

    given = describer.describe(endless(), never)
    next(given)
    assert len(taken) <= describer.num_ahead
    given.close()


def test_the_revision_of_a_folder_follows_its_contents_and_not_its_place(llava, tmp_path):
    copy = shutil.copytree(llava, tmp_path / "tiny-llava")
    here, there = (HFDescriber(str(f), DECODING, 1, "cpu").info() for f in (llava, copy))
    assert here == there
    assert here.revision
    assert str(llava) not in repr(here)
    other = build_llava(tmp_path / "other" / "tiny-llava", seed=9)
    assert HFDescriber(str(other), DECODING, 1, "cpu").info().revision != here.revision


def test_a_model_that_cannot_be_fetched_says_how_to_go_on():
    with pytest.raises(ModelError, match=r"hf:/path/to/folder.*server:MODEL@URL"):
        HFDescriber("nobody/no-such-model", DECODING, 1, "cpu").info()


def test_a_text_model_is_refused_before_its_weights_are_read(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match=r"llama model.*cannot describe images"):
        HFDescriber(str(tmp_path), DECODING, 1, "cpu").info()


def test_code_from_a_model_folder_is_never_run(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig"}, "architectures": ["Evil"]}'
    )
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass EvilConfig: pass\n")
    with pytest.raises(ModelError, match="Cannot load"):
        HFDescriber(str(tmp_path), DECODING, 1, "cpu").info()
    assert not (tmp_path / "ran").exists()


def test_a_device_that_is_not_there_is_refused(llava):
    with pytest.raises(ConfigError, match="--device cuda:99"):
        HFDescriber(str(llava), DECODING, 1, "cuda:99")


def test_the_model_runs_in_the_precision_that_is_asked_for(llava):
    assert HFDescriber(str(llava), DECODING, 2, "cpu").dtype is torch.float32
    describer = HFDescriber(str(llava), DECODING, 2, "cpu", "bf16")
    given = list(describer.describe(requests(describer), never))
    assert describer.dtype is torch.bfloat16
    assert len(given) == len(FILES)


def test_the_processor_does_not_see_more_than_the_largest_side(smolvlm):
    bounded = answers(smolvlm, 2, Decoding(max_new_tokens=2, max_side=TILE))
    unbounded = answers(smolvlm, 2, Decoding(max_new_tokens=2, max_side=512))
    assert max(a.num_prompt_tokens for a in bounded.values()) < min(a.num_prompt_tokens for a in unbounded.values())


def test_a_further_attempt_is_sampled_and_drawn_anew(llava):
    describer = HFDescriber(str(llava), DECODING, 4, "cpu")
    first = requests(describer)
    further = [replace(request, attempt=attempt) for request in first for attempt in (0, 1, 2)]
    given = {(a.request.name, a.request.attempt): a.text for a in describer.describe(further, never)}
    single = {a.request.name: a.text for a in describer.describe(first, never)}
    for name in single:
        assert given[name, 0] == single[name]
        assert len({given[name, attempt] for attempt in (0, 1, 2)}) == 3


def test_the_model_stays_loaded_between_calls(llava, monkeypatch):
    describer, loads = HFDescriber(str(llava), DECODING, 2, "cpu"), []
    load = describer.load
    monkeypatch.setattr(describer, "load", lambda: loads.append(1) or load())
    first = {a.request.name: a.text for a in describer.describe(requests(describer), never)}
    assert {a.request.name: a.text for a in describer.describe(requests(describer), never)} == first
    assert loads == [1]


@pytest.mark.parametrize("model", ["llava", "smolvlm", "qwen2_vl"])
def test_memory_that_runs_out_changes_no_answer(model, request, monkeypatch):
    folder = request.getfixturevalue(model)
    expected, sizes = answers(folder, 1, samples=(0, 1)), []
    generate = hf_generation.LoadedModel._generate

    def cramped(self, inputs, batch, decoding):
        sizes.append(len(batch))
        if len(batch) > 2:
            torch.empty(2**60, dtype=torch.uint8)  # the CPU's allocator refuses this
        return generate(self, inputs, batch, decoding)

    monkeypatch.setattr(hf_generation.LoadedModel, "_generate", cramped)
    given = answers(folder, 8, samples=(0, 1))
    assert {k: a.text for k, a in given.items()} == {k: a.text for k, a in expected.items()}
    assert sizes == [8, 4, 2, 2, 2, 2, 2]


def test_inputs_made_ahead_in_a_thread_change_no_answer(smolvlm):
    expected = answers(smolvlm, 2, samples=(0, 1))
    describer = HFDescriber(str(smolvlm), DECODING, 2, "cpu")
    describer.engine.encodes_ahead = True
    given = {
        (a.request.key[0], a.request.sample): a.text for a in describer.describe(requests(describer, (0, 1)), never)
    }
    assert given == {k: a.text for k, a in expected.items()}


def class_questions() -> list[Request]:
    texts = ["What can be seen?", "What can be seen on a small red bird?", "Describe a pond.", "Describe two boats."]
    return [Request(f"class {i}", 0, 0, f"{i}", f"{i}", "class_features", text, None) for i, text in enumerate(texts)]


@pytest.mark.parametrize("model", ["llava", "smolvlm", "qwen2_vl", "llama"])
def test_questions_about_classes_are_answered_without_a_picture(model, request):
    """Against an independent path: plain generate, one question at a time."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

    folder = request.getfixturevalue(model)
    describer = HFDescriber(str(folder), DECODING, 3, "cpu", sees_images=False)
    assert describer.info().identifier == f"hf:tiny-{model.replace('_', '-')}"
    given = {a.request.name: a for a in describer.describe(class_questions(), never)}
    processor = AutoProcessor.from_pretrained(folder)
    loader = AutoModelForCausalLM if model == "llama" else AutoModelForImageTextToText
    network = loader.from_pretrained(folder)
    for asked in class_questions():
        content = asked.text if model == "llama" else [{"type": "text", "text": asked.text}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt",
        )  # fmt: skip
        output = network.generate(**inputs, max_new_tokens=10, do_sample=False)
        text = processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert given[asked.name].text.strip() == text.strip()
        assert given[asked.name].num_prompt_tokens == inputs["input_ids"].shape[1]
    assert len({answer.text for answer in given.values()}) >= 3


def test_a_model_that_answers_nothing_is_refused_for_classes_too(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ModelError, match=r"vit model.*cannot answer questions"):
        HFDescriber(str(tmp_path), DECODING, 1, "cpu", sees_images=False).info()


def test_a_text_model_without_chat_template_says_so(tmp_path):
    folder = build_llama(tmp_path / "base", chat_template=False)
    describer = HFDescriber(str(folder), DECODING, 2, "cpu", sees_images=False)
    with pytest.raises(ModelError, match=r"no chat template.*instruction-tuned"):
        list(describer.describe(class_questions(), never))


def test_a_model_that_does_not_fit_while_loading_says_so(llava, monkeypatch):
    def crowded(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 140.00 GiB.")

    monkeypatch.setattr(torch.nn.Module, "to", crowded)
    describer = HFDescriber(str(llava), DECODING, 2, "cpu")
    with pytest.raises(ModelError, match=r"Cannot load.*Memory ran out: use --precision bf16"):
        list(describer.describe(requests(describer), never))


def test_transformers_bars_are_hidden_while_loading_and_its_settings_kept(llava, capfd):
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    assert logging.is_progress_bar_enabled()  # else this test shows nothing
    assert len(answers(llava, 4)) == len(FILES)
    assert "Loading weights" not in "".join(capfd.readouterr())
    assert logging.is_progress_bar_enabled()
    AutoModelForImageTextToText.from_pretrained(llava)
    assert "Loading weights" in capfd.readouterr().err


def test_a_hook_that_the_user_set_is_there_again_after_loading(llava):
    from transformers.utils import logging

    def hook(bar, args, options):
        return bar(*args, **options)

    former = logging.set_tqdm_hook(hook)
    try:
        answers(llava, 4)
        assert logging.set_tqdm_hook(hook) is hook
    finally:
        logging.set_tqdm_hook(former)
