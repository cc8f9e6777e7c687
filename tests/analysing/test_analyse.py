"""`python -m xmtc.analyse`: every number against scikit-learn or a loop."""

import json
import shutil

import numpy as np
import pytest
import torch

import xmtc.analyse
from xmtc.analysing.dependencies import distance
from xmtc.analysing.rerank import oracle
from xmtc.analysing.sets import diversity, group_f1, groups, set_matrices
from xmtc.analysing.subsets import frequency_subsets
from xmtc.data.batch import Labels
from xmtc.data.lists import Lists, read_lists

N, L = 40, 7
GOLD = [sorted(set(np.random.default_rng(i).integers(0, L + 2, i % 4).tolist())) for i in range(N)]  # two are unseen


def csr(rows):
    return Labels(torch.tensor([i for row in rows for i in row], dtype=torch.int64),
                  torch.tensor(np.cumsum([0, *map(len, rows)])))  # fmt: skip


@pytest.fixture
def lists():
    random = np.random.default_rng(0)
    labels = np.stack([random.permutation(L)[:5] for _ in range(N)])
    scores = -np.sort(-random.random((N, 5)).astype(np.float32), axis=1)
    labels[3, 3:] = -1  # padding
    return Lists(labels, scores, csr(GOLD), ["u", "v"])


def predicted_sets(lists, threshold):
    return [
        {int(i) for i, s in zip(row, own, strict=True) if s >= threshold and i >= 0}
        for row, own in zip(lists.labels, lists.scores, strict=True)
    ]


def dense(rows, size):
    return np.array([[i in row for i in range(size)] for row in rows])


def test_distance_equals_the_loop(lists):
    threshold = 0.5
    predicted, gold = set_matrices(lists, threshold, L)
    answered = predicted_sets(lists, threshold)

    def conditional(rows, a, b):
        have = [row for row in rows if a in row]
        return sum(b in row for row in have) / len(have) if have else 0.0

    terms = {}
    for a in range(L + 2):
        for b in range(L + 2):
            p = conditional(GOLD, a, b)
            if a != b and p > 0:
                terms[a, b] = p * np.log(p / max(conditional(answered, a, b), 1e-4))
    found = distance(gold, predicted, 1e-4)
    assert found["sum"] == pytest.approx(sum(terms.values()))
    assert found["by_label"] == pytest.approx(sum(terms.values()) / len({a for a, _ in terms}))
    assert found["by_pair"] == pytest.approx(sum(terms.values()) / len(terms))
    assert distance(gold, gold)["sum"] == pytest.approx(0, abs=1e-12)
    assert distance(gold[:0], predicted[:0]) == {"sum": 0.0, "by_label": 0.0, "by_pair": 0.0}


def test_diversity_counts_distinct_sets(lists):
    predicted, gold = set_matrices(lists, 0.7, L)
    answered = [frozenset(row) for row in predicted_sets(lists, 0.7)]
    assert diversity(predicted) == {"distinct": len(set(answered)), "empty": answered.count(frozenset())}
    assert diversity(gold) == {"distinct": len({tuple(row) for row in GOLD}), "empty": GOLD.count([])}


def test_groups_are_cut_by_training_frequency(lists):
    frequency = np.array([5, 9, 0, 9, 1, 2, 3])
    cut = groups(frequency, [0.25, 0.25, 0.25])
    assert [part.tolist() for part in cut] == [[1, 3], [0, 6], [5, 4], [2]]
    predicted, gold = set_matrices(lists, 0.4, L)
    rows = group_f1(predicted, gold, frequency, [0.5])
    assert [(r["labels"], r["most"], r["fewest"]) for r in rows] == [(4, 9, 3), (3, 2, 0)]
    from sklearn.metrics import f1_score

    p, g = dense(predicted_sets(lists, 0.4), L), dense(GOLD, L)
    assert rows[0]["macro-F1"] == pytest.approx(f1_score(g[:, [0, 1, 3, 6]], p[:, [0, 1, 3, 6]], average="macro"))
    assert group_f1(predicted, gold, frequency, [1.0, 0.0])[1] == {"labels": 0, "most": 0, "fewest": 0, "macro-F1": 0.0}


def test_the_oracle_puts_true_labels_first(lists):
    best = oracle(lists, 4)
    for row, before, true in zip(best, lists.labels, GOLD, strict=True):
        head = before[:4].tolist()
        assert row.tolist() == [i for i in head if i in true] + [i for i in head if i not in true] + [before[4]]


def test_head_and_tail_documents():
    """Of ten labels one is a head label: label 2."""
    frequency = np.array([1, 2, 50, 3, 4, 5, 6, 7, 8, 9])
    gold = csr([[2], [2, 3], [], [4, 5], [2, 11], [3]])
    subsets = frequency_subsets(gold, frequency, most=0)
    assert subsets["head"].tolist() == [0] and subsets["tail"].tolist() == [3, 5]
    assert frequency_subsets(gold, frequency)["tail"].tolist() == [0, 1, 3, 4, 5]


@pytest.fixture
def run(tmp_path, lists):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "encoder: {_target_: a.bow.B}\nhead: {_target_: a.none.N}\ndataset: {name: x}\n"
    )
    (folder / "overrides.yaml").write_text("[]\n")
    (folder / "labels.tsv").write_text("".join(f"{i}\tl{i}\tname|{i}\t{9 - i}\n" for i in range(L)))
    lists.labels[3, 3:] = [i for i in range(L) if i not in lists.labels[3]][:2]
    lists.save(folder / "predictions.npz")
    (folder / "metrics.json").write_text(json.dumps({"test": {"P@1": 0.5}, "threshold": 0.6}))
    return folder


def test_the_command_writes_tables_and_a_picture(run, tmp_path, capsys, lists):
    assert xmtc.analyse.main([str(run), "--cases", "2"]) == 0
    text = capsys.readouterr().out
    assert (run / "analysis.md").read_text().startswith(text.rstrip("\n")[:200])
    (result,) = json.loads((run / "analysis.json").read_text())
    assert result["threshold"] == 0.6 and len(result["cases"]) == 2 and len(result["groups"]) == 4
    expected = np.mean([[i in true for i in row[:3]] for row, true in zip(lists.labels.tolist(), GOLD, strict=True)])
    assert result["ranking"][""]["P@3"] == pytest.approx(expected)
    assert result["ranking"]["oracle of the best 10"]["nDCG@5"] >= result["ranking"][""]["nDCG@5"]
    assert (run / "groups.png").exists() or "groups.png" not in text
    assert xmtc.analyse.main([str(run), "--threshold", "0.9", "--output", str(tmp_path / "there")]) == 0
    assert json.loads((tmp_path / "there" / "analysis.json").read_text())[0]["threshold"] == 0.9


def test_padding_is_no_answer(run, lists):
    lists.labels[0, 2:] = -1
    lists.save(run / "predictions.npz")
    xmtc.analyse.main([str(run), "--cases", "1"])
    (result,) = json.loads((run / "analysis.json").read_text())
    answered = [name for name, _ in result["cases"][0]["answered"]]
    assert answered == [f"name|{label}" for label in lists.labels[0, :2]]


def test_a_text_ends_where_its_line_does(run, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("xmtc.loading.load", lambda folder: None)
    monkeypatch.setattr("xmtc.analysing.cases.stages", lambda model, texts: asked.extend(texts) or [])
    (tmp_path / "texts").write_bytes("\ufeffone\u2028still one\x0bstill\r\n\ntwo".encode())
    assert xmtc.analyse.main([str(run), "--texts", str(tmp_path / "texts")]) == 0
    assert asked == ["one\u2028still one\x0bstill", "", "two"]
    (tmp_path / "texts").write_bytes(b"\xff\xfe")
    assert xmtc.analyse.main([str(run), "--texts", str(tmp_path / "texts")]) == 2


def test_what_cannot_be_analysed(run, tmp_path, capsys):
    assert xmtc.analyse.main([str(tmp_path / "nothing")]) == 2
    (run / "metrics.json").write_text("{}")
    assert xmtc.analyse.main([str(run)]) == 2
    assert "--threshold" in capsys.readouterr().err
    (run / "predictions.npz").unlink()
    assert xmtc.analyse.main([str(run)]) == 2
    assert "has been tested" in capsys.readouterr().err


def test_runs_of_one_encoder_are_told_apart(run, tmp_path, capsys):
    config = (run / "config.yaml").read_text()
    for name, depth in (("one", 1), ("two", 2), ("again", 2)):
        shutil.copytree(run, tmp_path / "runs" / name)
        (tmp_path / "runs" / name / "config.yaml").write_text(config.replace("a.bow.B", f"a.bow.B, depth: {depth}"))
        (tmp_path / "runs" / name / "overrides.yaml").write_text(f"- encoder.depth={depth}\n")
    assert xmtc.analyse.main([str(tmp_path / "runs"), "--output", str(tmp_path / "out")]) == 0
    names = {result["name"] for result in json.loads((tmp_path / "out" / "analysis.json").read_text())}
    assert len(names) == 3
    assert any("depth=1" in name for name in names) and any("depth=2" in name and "(again)" in name for name in names)
    text = capsys.readouterr().out
    assert all(name in text for name in names)


def test_runs_of_two_data_sets_are_told_apart_in_every_table(run, tmp_path):
    for data in ("x", "y"):
        folder = shutil.copytree(run, tmp_path / "runs" / data / "bow")  # the same name below both
        config = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(config.replace("name: x", f"name: {data}"))
    xmtc.analyse.analyse([tmp_path / "runs"], tmp_path / "out")
    names = [result["name"] for result in json.loads((tmp_path / "out" / "analysis.json").read_text())]
    assert [name.rpartition("(")[2] for name in names] == ["x/bow)", "y/bow)"]


def test_runs_whose_groups_differ_have_a_table_each(run, tmp_path):
    """One dataset's name, label frequencies of another train part, as of a subset: each under its own boundaries."""
    shutil.copytree(run, tmp_path / "runs" / "whole")
    other = shutil.copytree(run, tmp_path / "runs" / "other")
    table = "".join(f"{i}\tl{i}\tname|{i}\t{90 - i}\n" for i in range(L))
    (other / "labels.tsv").write_text(table)
    xmtc.analyse.analyse([tmp_path / "runs"], tmp_path / "out", shares=[0.5])
    found = (tmp_path / "out" / "analysis.md").read_text()
    for heads, folder in (("4 labels, 9-6 | 3 labels, 5-3", "whole"), ("4 labels, 90-87 | 3 labels, 86-84", "other")):
        (section,) = [part for part in found.split("\n## ") if heads in part]
        assert section.startswith("x: macro-F1 by frequency of a label") and f"({folder})" in section
        assert len([line for line in section.splitlines() if line.startswith("| bow")]) == 1
        assert "Counted: documents of the corpus' train part" in section


def test_no_documents_have_no_score(run):
    """All documents have the one head label or none is a tail document: a dash, null in JSON, not 0."""
    xmtc.analyse.main([str(run), "--head-share", "1", "--max-head-labels", "0"])
    (result,) = json.loads((run / "analysis.json").read_text())
    unseen_only = sum(1 for row in GOLD if row and min(row) >= L)
    assert result["documents"]["tail"] == unseen_only
    found = xmtc.analyse.analyse([run], head_share=0.01, max_head_labels=2)  # one head label, as few as there can be
    assert "`tail`: with at most 2 of them" in found and "the 1 % most frequent" in found
    lists = read_lists(run / "predictions.npz")
    keep = np.array([i for i, row in enumerate(GOLD) if row != [0]])
    lists.take(keep).save(run / "predictions.npz")
    found = xmtc.analyse.analyse([run], head_share=0.01)
    (line,) = [line for line in found.splitlines() if "| head |" in line]
    assert line.endswith("| head | 0 | - | - | - | - | - |")
    assert json.loads((run / "analysis.json").read_text())[0]["ranking"]["head"]["P@1"] is None


def test_a_subset_is_told_from_its_whole(run, tmp_path):
    (run / "config.yaml").write_text(
        "encoder: {_target_: a.bow.B}\nhead: {_target_: a.none.N}\n"
        "dataset: {name: x, subset: tail, subset_parts: [train, validation, test]}\n"
    )
    assert "| x, tail documents (subset_retrain) |" in xmtc.analyse.analyse([run])
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("[train, validation, test]", "[test]"))
    assert "| x, tail documents (subset_of_test) |" in xmtc.analyse.analyse([run])
