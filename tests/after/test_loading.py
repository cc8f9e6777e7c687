"""A run directory is all that a model needs."""

import json
import shutil
import threading

import numpy as np
import pytest

import xmtc
from xmtc.data.sources.toy import ToySource
from xmtc.errors import InputError


def texts_of(documents):
    return [text for text, _ in documents]


def check_against_predictions(folder, documents):
    kept = np.load(folder / "predictions.npz")
    model = xmtc.load(folder)
    for size in (1, 7, None):
        scores, labels = model.predict_batch(texts_of(documents), 100, batch_size=size)
        assert scores.dtype == np.float32 and labels.dtype == np.int64
        assert (labels == kept["labels"]).all()
        np.testing.assert_allclose(1 / (1 + np.exp(-scores)), kept["scores"], atol=1e-6)
    answers = model.predict(texts_of(documents), k=5)
    assert [answer.indices for answer in answers] == kept["labels"][:, :5].tolist()
    assert [answer.labels for answer in answers] == [[model.labels.ids[i] for i in a.indices] for a in answers]
    np.testing.assert_allclose([answer.scores for answer in answers], kept["scores"][:, :5], atol=1e-6)


@pytest.mark.parametrize("encoder", ["bow", "xmlcnn", "attentionxml", "bertxml"])
def test_predictions_are_those_of_the_run_whatever_the_batch(make_run, encoders, encoder, test_texts, tmp_path):
    folder = make_run(*encoders[encoder], "head=cornet", "head.rank=4")
    moved = tmp_path / "moved"
    shutil.move(folder, moved)
    check_against_predictions(moved, test_texts)
