"""Both ways of the prediction bench give the same labels."""

from xmtc.bench.predict import predict


def test_both_ways_agree():
    bench = predict(documents=6, tokens=40, words=500, labels=60, rank=8)
    assert bench.facts["same_labels"] == 1 and bench.facts["logit_error"] < 1e-4
    scores, labels = bench.ours()
    assert scores.shape == labels.shape == (6, 5) and bench.baseline()[1].shape == (6, 5)
