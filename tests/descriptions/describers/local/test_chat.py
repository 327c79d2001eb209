from __future__ import annotations

import pytest
from PIL import Image

from sightwords.descriptions.describers.base import Request
from sightwords.descriptions.describers.hf_generation import bound_tiles, chat_texts, encode
from sightwords.errors import ModelError
from support.tiny_vlm import TILE, build_llama

PICTURE = Image.new("RGB", (TILE, TILE), (200, 40, 40))


def ask(picture: Image.Image | None, text: str = "What can be seen?") -> Request:
    return Request("k", 0, 0, "k", "", "plain", text, picture)


@pytest.fixture
def processor(llava):
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(llava)
    processor.tokenizer.padding_side = "left"
    return processor


def test_a_turn_holds_the_picture_and_the_text_or_the_text_alone(processor):
    assert chat_texts(processor, "m", [ask(PICTURE)]) == ["<s>User: <image>What can be seen?Assistant:"]
    assert chat_texts(processor, "m", [ask(None)]) == ["<s>User: What can be seen?Assistant:"]


def test_there_is_one_begin_token_and_padding_is_on_the_left(processor):
    inputs = encode(processor, "m", [ask(PICTURE), ask(PICTURE, "What can be seen? What is in the setting?")])
    tokens, begin = inputs["input_ids"], processor.tokenizer.bos_token_id
    assert (tokens == begin).sum(1).tolist() == [1, 1]
    assert inputs["attention_mask"][:, -1].tolist() == [1, 1]
    assert inputs["attention_mask"][0, 0] == 0
    assert inputs["pixel_values"].shape[0] == 2
    assert "pixel_values" not in encode(processor, "m", [ask(None)])


def test_a_text_model_is_asked_through_its_own_template(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(build_llama(tmp_path / "chat"))
    assert chat_texts(tokenizer, "m", [ask(None)]) == ["<s>User: What can be seen?\nAssistant:"]


def test_a_model_that_nobody_can_tell_how_to_ask_is_refused(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(build_llama(tmp_path / "base", chat_template=False))
    with pytest.raises(ModelError, match=r"^some/model has no chat template.*instruction-tuned"):
        encode(tokenizer, "some/model", [ask(None)])


def test_small_images_are_not_enlarged_into_many_tiles(smolvlm):
    from transformers import AutoProcessor

    def num_tiles(max_side: int, side: int) -> int:
        processor = AutoProcessor.from_pretrained(smolvlm)
        bound_tiles(processor, max_side)
        image = Image.new("RGB", (side, side))
        return processor(images=[[image]], text=["<image>"], return_tensors="pt")["pixel_values"].shape[1]

    assert num_tiles(10_000, TILE) == 17  # what the processor does by itself
    assert num_tiles(TILE, TILE) == 1
    assert num_tiles(2 * TILE, 2 * TILE) == 5
    assert num_tiles(8, TILE) == 1
