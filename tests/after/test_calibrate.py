"""Calibration recovers planted probabilities; thresholds are those of slow oracles."""

import json
import shutil

import numpy as np
import pytest
import torch
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import precision_recall_curve

import xmtc
from xmtc.calibrate import calibrate, main
from xmtc.calibration.error import expected_calibration_error
from xmtc.calibration.fit import fit, fit_isotonic, fit_temperature, hits_of, logits_of
from xmtc.calibration.thresholds import choose, describe
from xmtc.data.batch import Labels
from xmtc.data.lists import Lists, read_lists
from xmtc.errors import InputError

L, K = 30, 10


def planted(documents, seed, temperature=2.5, by_bin=False):
    """Lists whose true probability is sigmoid(logit / temperature); by_bin: only for labels from 15 on."""
    random = np.random.default_rng(seed)
    labels = np.argsort(random.random((documents, L)), axis=1)[:, :K]
    logits = -np.sort(-random.normal(-1, 3, (documents, K)), axis=1)
    factor = np.where(labels >= L // 2, temperature, 1.0) if by_bin else temperature
    hit = random.random((documents, K)) < 1 / (1 + np.exp(-logits / factor))
    gold = [np.sort(row[chosen]) for row, chosen in zip(labels, hit, strict=True)]
    offsets = torch.tensor([0, *np.cumsum([len(g) for g in gold])])
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return Lists(labels.astype(np.int64), scores, Labels(torch.from_numpy(np.concatenate(gold)), offsets))


NAMES, BINS = ["head", "tail"], np.repeat([0, 1], L // 2)


def test_expected_calibration_error_by_hand():
    probabilities = np.array([0.9, 0.95, 0.1, 0.5])
    hits = np.array([1, 0, 0, 1])
    # bins 13 (0.9), 14 (0.95), 1 (0.1) and 7 (0.5) of 15, a pair each
    assert expected_calibration_error(probabilities, hits) == pytest.approx((0.1 + 0.95 + 0.1 + 0.5) / 4)
    assert expected_calibration_error(probabilities, hits, bins=1) == pytest.approx(abs(2.45 - 2) / 4)
    assert expected_calibration_error(np.ones(3), np.ones(3)) == 0 and expected_calibration_error([], []) == 0


def test_temperature_is_found_again():
    lists = planted(4000, 0)
    found = fit_temperature(logits_of(lists.scores).ravel(), hits_of(lists).ravel())
    assert found["temperature"] == pytest.approx(2.5, rel=0.05)
    z, hit = torch.from_numpy(logits_of(lists.scores)), torch.from_numpy(hits_of(lists).astype(float))
    losses = [
        torch.nn.functional.binary_cross_entropy_with_logits(z / t, hit)
        for t in (found["temperature"] * f for f in (0.98, 1, 1.02))
    ]
    assert losses[1] < losses[0] and losses[1] < losses[2]


def test_isotonic_is_scikit_learns():
    lists = planted(500, 1)
    z, hit = logits_of(lists.scores).ravel(), hits_of(lists).ravel()
    mine = fit(lists, "isotonic", "global", NAMES, BINS)(z[:, None], np.zeros((len(z), 1), int)).ravel()
    theirs = IsotonicRegression(out_of_bounds="clip").fit(z, hit).predict(z)
    inside = (theirs > 0.02) & (theirs < 0.98)
    assert inside.sum() > 1000
    np.testing.assert_allclose(mine[inside], theirs[inside], atol=1e-6)
    assert 0 < mine.min() < mine.max() < 1  # never certain
    five = fit_isotonic(np.arange(10.0), np.arange(10) > 4)["probabilities"]
    assert five == pytest.approx([1 / 7] * (len(five) // 2) + [6 / 7] * (len(five) // 2))


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
@pytest.mark.parametrize("by_bin", [False, True])
def test_calibration_error_of_new_documents_falls_to_a_third(method, by_bin):
    calibration = fit(planted(3000, 2, by_bin=by_bin), method, "bins" if by_bin else "global", NAMES, BINS)
    new = planted(3000, 3, by_bin=by_bin)
    before = expected_calibration_error(new.scores, hits_of(new))
    after = expected_calibration_error(calibration(logits_of(new.scores), new.labels), hits_of(new))
    assert after < before / 3
    if by_bin:  # what one map for all labels cannot do
        flat = fit(planted(3000, 2, by_bin=True), method, "global", NAMES, BINS)
        assert calibration.maps[0] != calibration.maps[1]
        for half in (new.labels < L // 2, new.labels >= L // 2):
            mapped = [c(logits_of(new.scores), new.labels)[half] for c in (calibration, flat)]
            mine, theirs = (expected_calibration_error(m, hits_of(new)[half]) for m in mapped)
            assert mine < theirs


def test_a_bin_of_few_pairs_takes_the_map_of_all():
    bins = np.zeros(L, int)
    bins[0] = 1
    calibration = fit(planted(100, 4), "temperature", "bins", NAMES, bins)
    assert calibration.maps[1] == fit(planted(100, 4), "temperature", "global", NAMES, bins).maps[0]


def test_thresholds_against_a_sweep():
    lists = planted(300, 5)
    p, hit, real = lists.scores, hits_of(lists), lists.labels >= 0
    chosen = choose(p, lists, L, [0.6, 0.9], [2.0])
    precisions, _, thresholds = precision_recall_curve(hit.ravel(), p.ravel())  # its last precision is of no threshold
    facts = {t: (precision, (p >= t).sum()) for t, precision in zip(thresholds, precisions[:-1], strict=True)}
    assert sorted(facts) == np.unique(p).tolist()
    for wanted in (0.6, 0.9):
        reached = [t for t, (precision, _) in facts.items() if precision >= wanted]
        assert chosen[f"precision-{wanted}"] == min(reached, key=lambda t: -facts[t][1])
    assert chosen["labels-2"] == min(facts, key=lambda t: abs(facts[t][1] / 300 - 2))
    gold = len(lists.gold.ids)
    f1 = {t: 2 * precision * given / (given + gold) for t, (precision, given) in facts.items()}
    assert f1[np.float32(chosen["micro-F1"])] == max(f1.values())
    macro = {t: describe(float(t), p, lists, L)["macro-F1"] for t in list(facts)[::10]}
    assert describe(chosen["macro-F1"], p, lists, L)["macro-F1"] > max(macro.values()) - 0.01
    assert real.all() and "precision-1.1" not in choose(p, lists, L, [1.1], [])


def test_a_precision_that_is_just_reached():
    """55 of 100 are 0.55, whatever 0.55 * 100 is in floating point."""
    hits = [True] * 55 + [False] * 45
    labels, scores = np.zeros((100, 1), np.int64), np.linspace(0.9, 0.1, 100, dtype=np.float32)[:, None]
    lists = Lists(labels, scores, Labels(torch.zeros(55, dtype=torch.int64), torch.tensor([0, *np.cumsum(hits)])))
    assert 0.55 * 100 > 55 and choose(scores, lists, 1, [0.55], [])["precision-0.55"] == scores[-1, 0]


def test_labels_of_one_probability_are_answered_together_or_not_at_all():
    """Two thirds of the three are right; the first two alone cannot be had."""
    p, gold = np.array([[0.9, 0.5, 0.5]], np.float32), Labels(torch.tensor([0, 1]), torch.tensor([0, 2]))
    lists = Lists(np.array([[0, 1, 2]]), p, gold)
    chosen = choose(p, lists, 3, [0.9, 0.6], [])
    assert chosen["precision-0.9"] == pytest.approx(0.9) and chosen["precision-0.6"] == pytest.approx(0.5)


def test_taking_documents():
    lists = planted(20, 6)
    part = lists.take(np.array([7, 3]))
    gold = np.split(lists.gold.ids.numpy(), lists.gold.offsets.numpy()[1:-1])
    assert part.gold.ids.tolist() == [*gold[7], *gold[3]] and (part.labels == lists.labels[[7, 3]]).all()


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def test_a_run_directory_is_calibrated_and_predict_uses_it(copy, test_texts, capsys):
    texts = [text for text, _ in test_texts]
    before = xmtc.load(copy).predict(texts)
    assert main([str(copy), "--labels", "3", "--precision", "0.05"]) == 0
    shown = capsys.readouterr().out
    model = xmtc.load(copy)
    content = json.loads((copy / "calibration.json").read_text())
    assert content["format"] == 1 and set(content["report"]["test"]) == {"before", "after"}
    assert "precision-0.05" in shown and "labels-3" in shown and content["method"] in shown
    after = model.predict(texts)
    assert [a.labels for a in after] == [b.labels for b in before]  # the ranking stays
    assert [a.scores for a in after] != [b.scores for b in before]
    assert model.predict(texts, raw=True)[0].scores != after[0].scores
    # the threshold does on validation what the report says
    kept = read_lists(copy / "predictions_validation.npz")
    p = model.probabilities(logits_of(kept.scores), kept.labels)
    for name, value in model.calibration.thresholds.items():
        facts = describe(value, p, kept, model.num_labels)
        assert facts == pytest.approx(model.calibration.report["thresholds"][name])
        assert model.predict(texts, k=None, threshold=name) == model.predict(texts, k=None, threshold=value)
    model.calibration = None
    assert model.predict(texts) == before
    with pytest.raises(InputError, match="threshold: 'best' is not known; choose from micro-F1"):
        xmtc.load(copy).predict(texts, threshold="best")


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
@pytest.mark.parametrize("by", ["global", "bins"])
def test_every_kind_survives_its_file(copy, method, by):
    made = calibrate(copy, method, by)
    loaded = xmtc.load(copy).calibration
    assert (loaded.method, loaded.by) == (method, by)
    kept = read_lists(copy / "predictions.npz")
    z = logits_of(kept.scores)
    assert (loaded(z, kept.labels) == made(z, kept.labels)).all()


def test_what_cannot_be_calibrated(copy, tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert main([str(copy), "--method", "magic"]) == 2
    assert main([str(copy), "--precision", "2"]) == 2
    for message, options in {
        "precision: expected a share from 0 to 1, got '0.5'": {"precisions": ["0.5"]},
        "precision: expected a list of numbers, got 0.5": {"precisions": 0.5},
        "labels: expected a mean number of labels above 0, got None": {"counts": [None]},
        "run: expected a path, got 3": {"run": 3},
    }.items():
        with pytest.raises(InputError, match=f"^{message}$"):
            calibrate(**{"run": copy} | options)
    once = calibrate(copy, precisions=iter([0.01]), counts=iter([np.int64(3)]))
    assert {"precision-0.01", "labels-3"} <= set(once.thresholds)
    (copy / "calibration.json").write_text('{"format": 1, "meth')
    with pytest.raises(InputError, match="calibration.json: not readable"):
        xmtc.load(copy)
    lists = read_lists(copy / "predictions_validation.npz")
    lists.labels[:, 2:] = -1  # two labels for each of 40 documents: what a half is short of is told
    lists.save(copy / "predictions_validation.npz")
    with pytest.raises(InputError, match="^half of the validation documents have 40 predicted labels, .* expected 50"):
        calibrate(copy)
    (copy / "predictions_validation.npz").write_bytes(b"PK no")
    assert main([str(copy)]) == 2
    (copy / "predictions_validation.npz").unlink()
    assert main([str(copy)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 and all(line.startswith("xmtc.calibrate: ") for line in lines)
