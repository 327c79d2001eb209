"""Vision-language models small enough to be built in a test: real architectures and processors, random weights.

Their answers mean nothing, but they are functions of picture and question, which is all that is needed to see whether
padding, prompt stripping, seeds and servers are right.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMProcessor,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
from transformers.models.smolvlm.image_processing_smolvlm import SmolVLMImageProcessor
from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

TILE = 32  # side of what the vision tower sees, in pixels
PATCH = 8

_SENTENCES = [
    "Describe this image in detail. The picture shows a small red bird with a short beak on a thin branch.",
    "A yellow square and a blue disc lie on a gray wooden table near the open window of an old kitchen.",
    "User: what can be seen? Assistant: shape, color, texture and parts, and the setting that they are in.",
    "Green leaves, white clouds, a dark pond and two boats float behind the tall house at the end of summer.",
    "One bright stripe crosses its left wing, while both eyes look up to where three swallows fly home again.",
    "Rough bark, smooth stones, soft moss, cold water, warm light, long shadows, pale sand, deep snow, loud rain.",
]
_SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<image>", "<video>", "<fake_token_around_image>", "<global-img>"]
_QWEN = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
_TILES = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
_CHAT_TEMPLATE = (
    "<s>{% for message in messages %}{{ message['role'] | capitalize }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
_TEXT_TEMPLATE = (
    "<s>{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def build_llava(folder: Path, seed: int = 0, chat_template: bool = True) -> Path:
    """Save a LLaVA-shaped model (CLIP tower, Llama) with its processor to `folder`; return the folder."""
    tokenizer = _tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=TILE,
        patch_size=PATCH, projection_dim=32,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision,
        text_config=_text_config(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
    )
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": TILE}, crop_size={"height": TILE, "width": TILE}),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_CHAT_TEMPLATE if chat_template else None,
    )
    return _save(folder, LlavaForConditionalGeneration(config), processor, seed)


def build_smolvlm(
    folder: Path, seed: int = 0, text: Mapping[str, Any] | None = None, vision: Mapping[str, Any] | None = None
) -> Path:
    """Save a SmolVLM-shaped model (SigLIP-like tower, pixel shuffle, tiles) with its processor; return the folder.

    `text` and `vision` replace values of the two configurations, for a model that is larger than tiny.
    """
    tokenizer = _tokenizer()
    tower = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": TILE, "patch_size": PATCH, **(vision or {}),
    }  # fmt: skip
    tile, patch = tower["image_size"], tower["patch_size"]
    config = SmolVLMConfig(
        vision_config=tower,
        text_config={**_text_config(tokenizer).to_dict(), **(text or {})},
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(size={"longest_edge": 4 * tile}, max_image_size={"longest_edge": tile}),
        tokenizer,
        SmolVLMVideoProcessor(),
        image_seq_len=(tile // patch) ** 2 // 4,
        chat_template=_CHAT_TEMPLATE,
    )
    return _save(folder, SmolVLMForConditionalGeneration(config), processor, seed)


def build_qwen2_vl(folder: Path, seed: int = 0) -> Path:
    """Save a Qwen2-VL-shaped model (pictures of any size, multimodal rotary positions); return the folder."""
    tokenizer = _tokenizer()
    start, end, image, video = tokenizer.convert_tokens_to_ids(_QWEN)
    text = _text_config(tokenizer).to_dict()
    text["rope_parameters"] = {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 10_000.0}
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 48, "num_heads": 2, "mlp_ratio": 2, "patch_size": PATCH}
    config = Qwen2VLConfig(
        text_config={**text, "model_type": "qwen2_vl_text"}, vision_config={**vision, "spatial_merge_size": 2},
        image_token_id=image, video_token_id=video, vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(patch_size=PATCH, merge_size=2, min_pixels=16 * 16, max_pixels=64 * 64),
        tokenizer,
        Qwen2VLVideoProcessor(patch_size=PATCH, merge_size=2),
        chat_template=_CHAT_TEMPLATE.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return _save(folder, Qwen2VLForConditionalGeneration(config), processor, seed)


def build_llama(folder: Path, seed: int = 0, chat_template: bool = True) -> Path:
    """Save a text-only Llama-shaped chat model with its tokenizer; return the folder."""
    tokenizer = _tokenizer()
    tokenizer.chat_template = _TEXT_TEMPLATE if chat_template else None
    return _save(folder, LlamaForCausalLM(_text_config(tokenizer)), tokenizer, seed)


def _tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordLevel(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.train_from_iterator(_SENTENCES, trainers.WordLevelTrainer(special_tokens=_SPECIAL + _QWEN + _TILES))
    # as Llama's tokenizer: a begin token before every text, which must not double the chat template's
    begin = ("<s>", core.token_to_id("<s>"))
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[begin])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        additional_special_tokens=_SPECIAL[4:] + _QWEN + _TILES, padding_side="right",
    )  # fmt: skip


def _text_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip


def _save(folder: Path, model: PreTrainedModel, processor: ProcessorMixin | PreTrainedTokenizerFast, seed: int) -> Path:
    random = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():  # wide enough that another picture gives another answer
        if weight.dim() > 1:
            std = 1.0 if "embed" in name else weight[0].numel() ** -0.5
            torch.nn.init.normal_(weight, std=std, generator=random)
    # do_sample as published chat models have it: `transformers serve` then samples where a temperature is asked for
    tokenizer = getattr(processor, "tokenizer", processor)
    model.generation_config.update(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
