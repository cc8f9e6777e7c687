"""Somebody's own files, from the reader to metrics.json."""

import json

import xmtc

BASE = ["encoder=bow", "encoder.embedding.size=16", "head=none", "logger=csv", "prepare_workers=1"]
TEXTS = ["red apple", "green pear", "", "red pear pear", "blue sky", "apple pie"]
LABELS = [["fruit", "red"], ["fruit"], ["nothing"], ["fruit", "fruit"], [], ["fruit", "food"]]


def go(tmp_path, *overrides):
    paths = [f"paths.cache_dir={tmp_path}/cache", f"paths.runs={tmp_path}/runs"]
    return xmtc.run([*BASE, *paths, *overrides])


def test_folder_without_a_validation_part(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for part, times in (("train", 4), ("test", 1)):
        (corpus / f"{part}_texts.txt").write_text("".join(f"{t}\n" for t in TEXTS * times))
        (corpus / f"{part}_labels.txt").write_text("".join(f"{' '.join(x)}\n" for x in LABELS * times))
    with open(corpus / "test_labels.txt", "a") as labels, open(corpus / "test_texts.txt", "a") as texts:
        labels.write("unheard\n")
        texts.write("red words nobody knows\n")
    result = go(tmp_path, "dataset=folder", f"dataset.path={corpus}", "dataset.validation_size=5")
    assert 0 <= result["test"]["P@1"] <= 1
    (folder,) = (tmp_path / "runs").glob("*/*/*")
    import numpy as np

    kept = np.load(folder / "predictions.npz")
    names = [line.split("\t")[1] for line in (folder / "labels.tsv").read_text().splitlines()]
    assert names == sorted({"fruit", "red", "nothing", "food"})
    assert kept["unseen_labels"].tolist() == ["unheard"] and kept["gold_indices"][-1] == len(names)
    assert kept["labels"].shape == (7, 4)  # k is larger than L


def test_json_lines(tmp_path):
    for part in ("train", "validation", "test"):
        rows = [json.dumps({"text": t, "labels": x}) for t, x in zip(TEXTS, LABELS, strict=True)]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(rows) + "\n")
    result = go(tmp_path, "dataset=jsonl", f"dataset.path={tmp_path}")
    assert result["provenance"]["dataset_sha256"] and 0 <= result["test"]["R@5"] <= 1
