"""A run directory without a training opens like a trained one."""

import torch

import xmtc
from xmtc.testing.checkpoints import synthetic_run, zipf_texts


def test_a_synthetic_run_answers(tmp_path):
    options = ["encoder=xmlcnn", "head=lcenet", "head.rank=3", "embedding.size=8", "encoder.filters=2"]
    model = xmtc.load(synthetic_run(tmp_path / "run", options, labels=30, words=50))
    assert model.num_labels == 30 and model.labels[7].name == "label number 7"
    texts = zipf_texts(4, 20, 50)
    assert [len(text.split()) for text in texts] == [20] * 4
    assert model.reader.batch(texts).tokens.min() >= 0 and (model.reader.batch(texts).tokens[:, :20] > 1).all()
    assert all(len(prediction.labels) == 5 for prediction in model.predict(texts))
    assert all(torch.isfinite(tensor).all() for tensor in model.parts.state_dict().values())
