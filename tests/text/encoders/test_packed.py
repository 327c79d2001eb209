"""Networks without padding: the vectors of the library for every model that is run so, and none for the others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sightwords.text.encoders import TokenEncoder, open_encoder
from sightwords.text.encoders.packed import PackedTransformer

DRAW = np.random.default_rng(0)
TEXTS = [DRAW.integers(5, 60, length).astype(np.int32) for length in (9, 9, 9, 4, 4, 7, 1)]


def _model(kind: str, **changed):
    import transformers

    config = {
        "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
        "max_position_embeddings": 40, "pad_token_id": 1,
    }  # fmt: skip
    torch.manual_seed(0)
    made = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**{**config, **changed}))
    with torch.no_grad():  # biases and norms that do something
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return made.eval()


def _expected(model, pooling: str) -> np.ndarray:
    with torch.no_grad():
        hidden = [model(torch.from_numpy(text.astype(np.int64))[None]).last_hidden_state[0] for text in TEXTS]
    return torch.stack([h[0] if pooling == "cls" else h.mean(0) for h in hidden]).numpy()


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "XLMRoberta"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("activation", ["gelu", "relu", "gelu_new"])
def test_vectors_are_those_of_the_model(kind, pooling, activation):
    model = _model(kind, hidden_act=activation)
    found = PackedTransformer(model, pooling, torch.float32)(TEXTS).numpy()
    np.testing.assert_allclose(found, _expected(model, pooling), atol=2e-5)


@pytest.mark.parametrize(
    ("kind", "pooling", "changed"),
    [("DistilBert", "mean", {}), ("Bert", "max", {}), ("Bert", "mean", {"is_decoder": True}), ("MPNet", "mean", {})],
)
def test_other_kinds_are_refused(kind, pooling, changed):
    with pytest.raises(ValueError, match="is not a plain encoder"):
        PackedTransformer(_model(kind, **changed), pooling, torch.float32)


def test_a_model_whose_vectors_would_differ_is_run_by_the_library(tiny_st, monkeypatch):
    assert isinstance(open_encoder(f"st:{tiny_st}", "cpu"), TokenEncoder)
    call = PackedTransformer.__call__
    monkeypatch.setattr(PackedTransformer, "__call__", lambda self, texts: call(self, texts).roll(1, 0))
    assert not isinstance(open_encoder(f"st:{tiny_st}", "cpu"), TokenEncoder)


def test_a_model_with_a_further_layer_is_run_by_the_library(tiny_st, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense

    model = SentenceTransformer(str(tiny_st), device="cpu")
    model.append(Dense(32, 8))
    model.save(str(tmp_path / "dense"))
    encoder = open_encoder(f"st:{tmp_path / 'dense'}", "cpu")
    assert not isinstance(encoder, TokenEncoder)
    assert encoder.info.dimension == 8
    np.testing.assert_allclose(encoder.encode(["red"]), model.encode(["red"]), atol=1e-6)
