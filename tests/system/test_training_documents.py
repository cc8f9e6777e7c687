"""How far a run's answers for its own training documents are from their labels: LACO's KL on the training part."""

import json

import numpy as np
import pytest

import xmtc
import xmtc.analyse
from xmtc.config.make import make
from xmtc.parsing import read_yaml
from xmtc.predicting.evaluation import evaluate_file


def conditional(sets, a, b):
    have = [labels for labels in sets if a in labels]
    return sum(b in labels for labels in have) / len(have) if have else 0.0


def test_an_evaluation_of_training_documents_is_analysed_as_a_run(finished, tmp_path):
    """As the comment of experiment=laco/table5 says: evaluate, then analyse; against a loop over the same texts."""
    result, folder = finished
    source = make(read_yaml(folder / "config.yaml", dict)["dataset"]["source"])
    documents = list(source.documents("train"))
    texts, labels = zip(*documents, strict=True)
    (tmp_path / "train.src").write_text("".join(f"{text}\n" for text in texts))
    (tmp_path / "train.tgt").write_text("".join(f"{' '.join(names)}\n" for names in labels))
    evaluate_file(
        str(folder), str(tmp_path / "train.src"), str(tmp_path / "train.tgt"), format="text", name="toy-train",
        output=str(tmp_path / "on-train"),
    )  # fmt: skip
    assert xmtc.analyse.main([str(tmp_path / "on-train"), "--epsilon", "0.001"]) == 0
    (found,) = json.loads((tmp_path / "on-train" / "analysis.json").read_text())

    model, gold = xmtc.load(folder), [set(names) for names in labels]
    logits, ids = model.predict_batch(list(texts), model.num_labels)
    chosen = 1 / (1 + np.exp(-np.asarray(logits, np.float64))) >= result["threshold"]
    answered = [{model.labels[int(i)].id for i in row[keep]} for row, keep in zip(np.asarray(ids), chosen, strict=True)]
    assert len(answered) == 160 and found["threshold"] == result["threshold"]
    names = sorted(set().union(*gold))
    pairs = {(a, b): p for a in names for b in names if a != b and (p := conditional(gold, a, b)) > 0}
    terms = {(a, b): p * np.log(p / max(conditional(answered, a, b), 0.001)) for (a, b), p in pairs.items()}
    assert found["dependencies"]["sum"] == pytest.approx(sum(terms.values()))
    assert found["dependencies"]["by_label"] == pytest.approx(sum(terms.values()) / len({a for a, _ in terms}))
