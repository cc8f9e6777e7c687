"""Fusion against a slow oracle; an ensemble is a run directory that answers new texts as its file says."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import xmtc
from xmtc.calibrate import calibrate
from xmtc.data.batch import Labels
from xmtc.data.lists import Lists, read_lists
from xmtc.ensemble import ensemble, main
from xmtc.errors import InputError
from xmtc.fusion.fuse import choose_weights, fuse, ndcg5, pooled
from xmtc.fusion.members import Ensemble
from xmtc.labels import LabelTable
from xmtc.metrics.ranking import RankingMetrics
from xmtc.parsing import read_yaml
from xmtc.predicting.evaluation import evaluate_file
from xmtc.reporting.runs import read_run
from xmtc.tagger import Tagger


def random_lists(random, documents, k, num_labels, padded=False):
    labels = np.argsort(random.random((documents, num_labels)), axis=1)[:, :k].astype(np.int64)
    scores = -np.sort(-random.random((documents, k)), axis=1).astype(np.float32)
    if padded:
        labels[::3, k // 2 :] = -1
    return labels, scores


@pytest.mark.parametrize("method, weights", [("mean", [0.5, 0.5]), ("weighted", [0.9, 0.1]), ("rank", [0.5, 0.5])])
def test_fusion_is_what_a_loop_over_dictionaries_gives(method, weights, monkeypatch):
    monkeypatch.setattr("xmtc.fusion.fuse.BLOCK", 7)
    random = np.random.default_rng(0)
    lists = [random_lists(random, 20, 6, 15), random_lists(random, 20, 4, 15, padded=True)]
    labels, scores = fuse(method, weights, [own for own, _ in lists], [own for _, own in lists], 8)
    assert labels.shape == scores.shape == (20, 8)
    for document in range(20):
        total = {}
        for weight, (own, mine) in zip(weights, lists, strict=True):
            for rank, (label, score) in enumerate(zip(own[document].tolist(), mine[document].tolist(), strict=True), 1):
                if label >= 0:
                    value = 61 / (60 + rank) if method == "rank" else score
                    total[label] = total.get(label, 0) + weight * value
        wanted = sorted(total, key=lambda label: (-round(total[label], 6), label))[:8]
        found = [label for label in labels[document].tolist() if label >= 0]
        assert found == wanted and labels[document].tolist()[len(found) :] == [-1] * (8 - len(found))
        np.testing.assert_allclose(scores[document, : len(found)], [total[label] for label in found], rtol=1e-5)


def test_weights_are_the_best_of_a_grid():
    random = np.random.default_rng(1)
    gold = np.full(200, 3)
    candidates = np.tile(np.arange(12), (200, 1))
    hit = np.argsort(random.random((200, 12)), axis=1) < 3
    # members that see different true labels, and one that sees none
    seen = [hit & (random.random(hit.shape) < share) for share in (0.7, 0.5, 0.0)]
    pool = np.stack([0.5 * s + random.random(hit.shape) * 0.6 for s in seen]).astype(np.float32)
    found = choose_weights(pool, candidates, hit, gold)
    assert found.sum() == pytest.approx(1) and found[2] < 0.1 and found[0] > found[1]
    value = ndcg5(np.tensordot(found.astype(np.float32), pool, axes=1), candidates, hit, gold)
    for w in itertools.product(np.arange(0, 1.01, 0.1), repeat=2):
        if sum(w) <= 1:
            tried = np.array([*w, 1 - sum(w)], np.float32)
            assert ndcg5(np.tensordot(tried, pool, axes=1), candidates, hit, gold) <= value + 1e-9


def test_ndcg_of_the_search_is_that_of_the_metrics():
    random = np.random.default_rng(2)
    labels, scores = random_lists(random, 50, 10, 30)
    gold = [np.sort(random.choice(30, random.integers(0, 6), replace=False)) for _ in range(50)]
    offsets = torch.tensor([0, *np.cumsum([len(g) for g in gold])])
    true = Labels(torch.from_numpy(np.concatenate(gold)), offsets)
    metrics = RankingMetrics(30, torch.ones(30, dtype=torch.int64), 10)
    metrics.update(torch.from_numpy(labels), true)
    hits = np.array([[label in g for label in row] for row, g in zip(labels, gold, strict=True)])
    candidates, pool = pooled([labels], [scores])
    hit = pooled([labels], [hits.astype(np.float32)])[1][0] > 0
    mine = ndcg5(pool[0], candidates, hit, offsets.diff().numpy())
    assert mine == pytest.approx(metrics.compute()["nDCG@5"])


@pytest.fixture(scope="module")
def made(run, other_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fused") / "both"
    return folder, ensemble([run, other_run], folder, "mean")


def test_an_ensemble_answers_new_texts_as_its_predictions_say(made, test_texts):
    folder, result = made
    kept = read_lists(folder / "predictions.npz")
    model = xmtc.load(folder)
    texts = [text for text, _ in test_texts]
    scores, labels = model.predict_batch(texts, 20)
    assert (labels == kept.labels[:, :20]).mean() > 0.99  # rounding may swap two that tie
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), kept.scores[:, :20], atol=1e-6)
    answers = model.predict(texts, k=3)
    assert [a.labels for a in answers] == [b.labels for b in model.predict(texts, k=3, batch_size=4)]
    raw, enhanced = model.both(texts, k=3)
    assert enhanced == answers and raw == model.predict(texts, k=3, raw=True) and raw != enhanced
    assert model.predict([]) == []


def test_runs_of_a_corpus_that_names_no_propensities(made, run, other_run, tmp_path):
    """Its metrics take the usual ones, and so does the ensemble (it ended in a traceback)."""
    folders = [shutil.copytree(folder, tmp_path / name) for folder, name in ((run, "a"), (other_run, "b"))]
    for folder in folders:
        config = OmegaConf.load(folder / "config.yaml")
        config.dataset.propensity = None
        OmegaConf.save(config, folder / "config.yaml")
        (folder / "checksums").unlink(missing_ok=True)
    assert ensemble(folders, tmp_path / "both", "mean")["test"] == made[1]["test"]


def test_scores_of_an_ensemble(made, run):
    folder, result = made
    kept, run_kept = read_lists(folder / "predictions.npz"), read_lists(run / "predictions.npz")
    assert torch.equal(kept.gold.ids, run_kept.gold.ids) and len(kept) == 41
    model = xmtc.load(run)
    metrics = RankingMetrics(model.num_labels, torch.from_numpy(model.labels.frequency), 160)
    metrics.update(torch.from_numpy(kept.labels), kept.gold)
    again = metrics.compute()
    assert again == {name: result["test"][name] for name in again} and "micro-F1" in result["test"]
    assert json.loads((folder / "metrics.json").read_text())["test"] == result["test"]
    read = read_run(folder)
    assert (read.dataset, read.head) == ("toy", "mean") and read.complete
    assert read.facts["command"].endswith(" --method mean")
    assert len(read.facts["members"]) == 2 and read.dataset_sha256


def test_a_report_tells_ensembles_of_other_members_apart(run, other_run, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name in ("labels.tsv", "predictions.npz", "predictions_validation.npz"):
        shutil.copyfile(run / name, foreign / name)
    for name, members in {"one": [run, other_run], "two": [run, foreign]}.items():
        ensemble(members, tmp_path / "both" / name, train_documents=100)
    ensemble([run, run, foreign], tmp_path / "both" / "three", train_documents=100)
    one, two, three = (read_run(tmp_path / "both" / name) for name in ("one", "two", "three"))
    mine, other = (read_run(folder) for folder in (run, other_run))
    first, second = (called(each) for each in (mine, other))
    assert one.encoder.lower() == f"{first}+{second}" and two.encoder.lower() == f"{first}+foreign"
    assert three.encoder.lower() == f"2x{first}+foreign"
    assert one.seed == (mine.seed if mine.seed == other.seed else None) and two.seed is None


def called(member):
    """As an ensemble calls it, in small letters: what was set for it stands behind its encoder and head."""
    typed = {word.partition("=")[0] for word in read_yaml(member.folder / "overrides.yaml")}
    config = OmegaConf.load(member.folder / "config.yaml")
    parts = ("encoder.", "head.", "recipe.", "data.", "embedding.")
    told = [f"{key}={OmegaConf.select(config, key)}" for key in sorted(typed) if key.startswith(parts)]
    told = ",".join(word.removeprefix("encoder.").removeprefix("head.") for word in told)
    return f"{member.encoder}-{member.head}({told})".lower()


def test_members_that_differ_in_a_setting_make_another_ensemble(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    words = [word for word in read_yaml(copy / "overrides.yaml") if not word.startswith("encoder.dropout=")]
    (copy / "overrides.yaml").write_text(json.dumps([*words, "encoder.dropout=0.625"]))
    config = read_yaml(copy / "config.yaml")
    config["encoder"]["dropout"] = 0.625
    (copy / "config.yaml").write_text(json.dumps(config))
    ensemble([run, copy], tmp_path / "both", train_documents=100)
    name = read_run(tmp_path / "both").encoder.lower()
    assert name == f"{called(read_run(run))}+{called(read_run(copy))}" and "dropout=0.625" in name
    # a member that was trained on fewer documents, or otherwise, is another one too
    (copy / "overrides.yaml").write_text(json.dumps([*words, "data.fraction=0.25", "recipe=paper"]))
    (copy / "config.yaml").write_text(json.dumps(config | {"data": config["data"] | {"fraction": 0.25}}))
    ensemble([run, copy], tmp_path / "both", train_documents=100)
    assert "data.fraction=0.25" in (name := read_run(tmp_path / "both").encoder) and "recipe=" in name


def test_an_ensemble_ranks_as_many_labels_as_are_asked_for(tmp_path):
    """Of 300 labels 250: of what stands behind the 100 best of each member there would be no trace."""
    random, size = np.random.default_rng(0), 300
    (tmp_path / "labels.tsv").write_text("".join(f"{n}\tl{n:03}\tL\t1\n" for n in range(size)))
    table = LabelTable(tmp_path / "labels.tsv")

    class Member(Tagger):
        batch_size = 8

        def predict_batch(self, texts, k, raw=False, batch_size=None):
            return tuple(part[:, :k] for part in self.ranking)

    members = []
    for _ in range(2):
        members.append(Member(tmp_path, {}, table))
        labels, scores = random_lists(random, 4, size, size)
        members[-1].ranking = np.log(scores / (1 - scores)), labels
    both = Ensemble(tmp_path, {}, table, members, {"method": "mean", "weights": [0.5, 0.5]})
    logits, labels = both.predict_batch(["x"] * 4, 250)
    assert labels.shape == (4, 250) and all(len(set(row)) == 250 for row in labels.tolist())
    dense = [np.zeros((4, size)) for _ in members]
    for own, member in zip(dense, members):
        np.put_along_axis(own, member.ranking[1], 1 / (1 + np.exp(-member.ranking[0])), 1)
    best = np.argsort(-(dense[0] + dense[1]), axis=1)[:, :100]
    assert labels[:, :100].tolist() == best.tolist()


def test_automatic_choice_is_the_best_on_validation(run, other_run, tmp_path):
    result = ensemble([run, other_run], tmp_path / "auto")
    facts = json.loads((tmp_path / "auto" / "ensemble.json").read_text())
    scores = facts["validation nDCG@5"]
    assert facts["method"] == max(("mean", "rank", "weighted"), key=scores.get)
    assert result["validation"]["nDCG@5"] == pytest.approx(scores[facts["method"]], abs=1e-3)
    assert scores["weighted"] >= max(scores["member 1"], scores["member 2"], scores["mean"]) - 1e-9


def test_a_copied_ensemble_can_be_moved(run, other_run, tmp_path, test_texts):
    ensemble([run, other_run], tmp_path / "here" / "e", "rank", copy=True)
    moved = shutil.move(tmp_path / "here" / "e", tmp_path / "there")
    texts = [text for text, _ in test_texts][:4]
    kept = read_lists(moved / "predictions.npz")
    assert [a.indices for a in xmtc.load(moved).predict(texts)] == kept.labels[:4, :5].tolist()
    with pytest.raises(InputError, match="members/2 is a copy that an ensemble keeps"):
        ensemble([run, moved / "members" / "2"], moved, "rank", copy=True)
    weights = moved / "members" / "2" / "checkpoints" / "best.ckpt"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="best.ckpt: damaged"):
        xmtc.load(moved)


def test_nothing_of_an_earlier_ensemble_is_left(run, other_run, tmp_path, test_texts):
    """Its calibration would map the new scores, its test lists would be taken for the new ones."""
    both, texts = tmp_path / "both", [text for text, _ in test_texts][:4]
    ensemble([run, other_run], both, "mean")
    calibrate(both)
    untested = shutil.copytree(other_run, tmp_path / "untested")
    (untested / "predictions.npz").unlink()
    assert ensemble([run, untested], both, "rank")["test"] is None
    assert not (both / "predictions.npz").exists()
    model = xmtc.load(both)
    assert model.calibration is None
    ensemble([run, untested], tmp_path / "new", "rank")
    assert model.predict(texts) == xmtc.load(tmp_path / "new").predict(texts)


def test_an_interrupted_ensemble_is_made_again(run, other_run, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as during, pytest.raises(KeyboardInterrupt):
        during.setattr(Lists, "save", interrupted)
        ensemble([run, other_run], tmp_path / "both", "mean")
    assert not (tmp_path / "both" / "metrics.json").exists()  # by which reports know what is whole
    ensemble([run, other_run], tmp_path / "both", "mean")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to .*file"):
        ensemble([run, other_run], tmp_path / "file" / "both", "mean")


def test_an_ensemble_is_a_member_like_any_other(run, other_run, tmp_path, test_texts):
    """Kept whole inside a copy, and it has recorded the documents of the propensities."""
    ensemble([run, other_run], tmp_path / "here" / "both", "mean")
    ensemble([tmp_path / "here" / "both", other_run], tmp_path / "here" / "three", "mean", copy=True)
    moved = shutil.move(tmp_path / "here" / "three", tmp_path / "there")
    shutil.rmtree(tmp_path / "here")
    texts = [text for text, _ in test_texts]
    kept = read_lists(moved / "predictions.npz")
    logits, _ = xmtc.load(moved).predict_batch(texts, 5)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), kept.scores[:, :5], atol=1e-6)
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in texts))
    (tmp_path / "labels.txt").write_text("".join(f"{' '.join(labels)}\n" for _, labels in test_texts))
    scored = evaluate_file(str(moved), str(tmp_path / "texts.txt"), str(tmp_path / "labels.txt"))["test"]
    told = json.loads((moved / "metrics.json").read_text())["test"]
    assert scored["PSP@5"] == pytest.approx(told["PSP@5"], abs=1e-3)


def foreign(run, folder):
    """The run's own lists as another system would hand them in: labels in reverse order, the rarest one unknown to it,
    no configuration, no weights."""
    folder.mkdir()
    rows = [line.split("\t") for line in (run / "labels.tsv").read_text().splitlines()]
    left_out = len(rows) - 1
    order = list(reversed(range(left_out)))
    lines = [f"{i}\t{rows[old][1]}\tother name\t{rows[old][3]}\n" for i, old in enumerate(order)]
    (folder / "labels.tsv").write_text("".join(lines))
    place = np.array([order.index(old) for old in range(left_out)] + [left_out])
    for name in ("predictions.npz", "predictions_validation.npz"):
        kept = read_lists(run / name)
        labels = np.where(kept.labels == left_out, -1, place[kept.labels.clip(0, left_out)])
        gold = place[kept.gold.ids.numpy()]
        Lists(labels, kept.scores, Labels(torch.from_numpy(gold), kept.gold.offsets), [rows[left_out][1]]).save(
            folder / name
        )
    return folder


def test_lists_of_another_system_are_matched_by_label_id(run, tmp_path):
    other = foreign(run, tmp_path / "foreign")
    for order in ([run, other], [other, run]):
        out = tmp_path / f"out{order[0].name}"
        ensemble(order, out, "mean")
        fused, alone = read_lists(out / "predictions.npz"), read_lists(run / "predictions.npz")
        assert (fused.labels[:, :20] == alone.labels[:, :20]).mean() > 0.9  # where the missing label is not among them
        assert torch.equal(fused.gold.ids, alone.gold.ids)
        with pytest.raises(InputError, match="a member cannot be used on new texts: .*foreign"):
            xmtc.load(out)


def test_what_cannot_be_fused(run, other_run, make_run, encoders, tmp_path, capsys):
    other = make_run(*encoders["bow"], "head=none", "dataset.source.seed=9")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    alone = foreign(run, tmp_path / "a"), foreign(run, tmp_path / "b")
    cases = {
        "two runs at least": [run],
        "not the documents of": [run, other],
        "no such run": [run, tmp_path / "nowhere"],
        "is no ensemble": [run, other_run, "--output", tmp_path / "full"],
        "one of the members": [run, other_run, "--output", run],
        "unknown choice": [run, other_run, "--method", "magic"],
        "give --train-documents": alone,
    }
    capsys.readouterr()  # of a training, where this test is the first to ask for its run
    for message, words in cases.items():
        output = [] if "--output" in words else ["--output", tmp_path / "out"]
        assert main([str(word) for word in [*words, *output]]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    for count in (0, 2.5, "160"):
        with pytest.raises(InputError, match="train_documents: expected a whole number of at least 1, got"):
            ensemble(alone, tmp_path / "out", train_documents=count)
    for runs in (str(run), run, None):
        with pytest.raises(InputError, match="^runs: expected a list of folders"):
            ensemble(runs, tmp_path / "out")
    for name, arguments in {"runs": ([run, 3], tmp_path / "out"), "output": ([run, other_run], 3)}.items():
        with pytest.raises(InputError, match=f"^{name}: expected a path, got 3"):
            ensemble(*arguments)
    assert ensemble(alone, tmp_path / "numbers", train_documents=np.int64(160))["test"]["P@1"] >= 0
    assert main([*map(str, alone), "--output", str(tmp_path / "out"), "--train-documents", "160"]) == 0
    (tmp_path / "out" / "ensemble.json").write_text("{}")
    with pytest.raises(InputError, match="ensemble.json: changed or damaged"):
        xmtc.load(tmp_path / "out")
    (tmp_path / "out" / "checksums").unlink()
    with pytest.raises(InputError, match="ensemble.json: not readable"):
        xmtc.load(tmp_path / "out")
