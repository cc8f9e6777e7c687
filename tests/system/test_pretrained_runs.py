"""Pretrained encoders go the whole way and are used without the folder that their weights came from."""

import json
import shutil

import numpy as np
import pytest

import xmtc
import xmtc.analyse
from xmtc.config import compose_checked
from xmtc.config.make import make
from xmtc.testing.pretrained import tiny_bert

SMALL = ["dataset=toy", "logger=csv", "dataset.source.train=60", "dataset.source.validation=20"]
SMALL += ["dataset.source.test=20"]
OWN = {
    "transformer": ["encoder.lora=2"],
    "labelcorank": ["encoder.heads=4", "encoder.gamma=3", "encoder.inner=8"],
    "laco": ["encoder.length=160", "encoder.plcp=1", "encoder.clcp=5"],
    "gudn": ["encoder.last_layers=2"],
    "seqtag": ["encoder.length=160", "encoder.hidden=8", "encoder.logit_loss=0.1"],
}


@pytest.mark.parametrize("encoder", OWN)
def test_trains_and_answers(encoder, tmp_path):
    if encoder == "transformer":
        pytest.importorskip("peft")
    folder, run = tiny_bert(tmp_path / "bert", positions=160), tmp_path / "run"
    settings = [f"encoder={encoder}", f"encoder.name={folder}", "encoder.text.length=16", *OWN[encoder], *SMALL]
    settings += ["head=cornet", "head.rank=4", "recipe.max_epochs=1", "offline=true", "data.batch_size=16"]
    result = xmtc.run([*settings, f"paths.cache_dir={tmp_path}", f"hydra.run.dir={run}"])
    assert 0 <= result["test"]["nDCG@5"] <= 1
    source = make(dict(compose_checked(settings).dataset.source))
    texts = [text for text, _ in source.documents("test")]
    shutil.rmtree(folder)
    (tmp_path / "texts.txt").write_text(f"{texts[0]}\n{texts[1]}\n")
    assert xmtc.analyse.main([str(run), "--texts", str(tmp_path / "texts.txt")]) == 0
    (told,) = json.loads((run / "analysis.json").read_text())
    for case, text in [*zip(told["texts"], texts, strict=False), *zip(told["cases"], texts, strict=False)]:
        assert case["text"] == text and len(case["answered"]) == len(case["raw"]) == 5
        assert ("first" in case) == (encoder == "labelcorank") and len(case.get("asked", "xyz")) == 3
    model = xmtc.load(run)
    scores, labels = model.predict_batch(texts, 3)
    stored = np.load(run / "predictions.npz")
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), stored["scores"][:, :3], rtol=1e-4)
    assert (labels == stored["labels"][:, :3]).mean() > 0.95  # equal scores may change places with the batch
    pytest.importorskip("captum")
    from xmtc.explaining.document import explain

    found = explain(model, texts[0], k=1)
    pieces = model.reader.words(texts[0])
    assert found["enhanced"] == model.predict(texts[:1], k=1)[0].labels
    for entry in found["labels"]:
        words = dict(entry["words"]["words"])
        assert set(words) <= {*pieces, "(unknown words)"} and any(words.values())
