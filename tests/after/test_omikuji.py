"""experiments/examples/peer_omikuji.py: what omikuji is given, and what becomes of its answers, with it pretended."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from scipy.sparse import csr_matrix

from xmtc.data.text import Words
from xmtc.errors import InputError

EXAMPLES = Path(__file__).parents[2] / "experiments" / "examples"


@pytest.fixture
def peer(monkeypatch):
    """The module, where `omikuji` keeps what it was trained with and ranks labels by a document's first words."""
    seen = {}

    class Model:
        @staticmethod
        def default_hyper_param():
            return SimpleNamespace(linear_c=1.0)

        @classmethod
        def train_on_data(cls, path, told, n_threads):
            seen.update(lines=Path(path).read_text().splitlines(), told=vars(told), threads=n_threads)
            return cls()

        def predict(self, pairs, beam_size, top_k):
            assert [word for word, _ in pairs] == sorted(word for word, _ in pairs) and beam_size == 4
            return [(word, value) for word, value in pairs][: min(top_k, 2)]

    monkeypatch.setitem(sys.modules, "omikuji", SimpleNamespace(Model=Model))
    spec = importlib.util.spec_from_file_location("peer_omikuji", EXAMPLES / "peer_omikuji.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.seen = seen
    return module


def test_what_it_is_given_and_what_it_answers(peer):
    features = csr_matrix(np.array([[0.6, 0, 0.8], [0, 0, 0], [0, 1, 0], [1, 0, 0]], np.float32))
    targets = csr_matrix(np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], bool))
    model = peer.Omikuji(Words(), beam=4, trees=2, threads=1)
    model.fit(features, targets)
    # it refuses documents without words or labels
    assert peer.seen["lines"] == ["2 3 4", "0,2 0:0.6 2:0.8", "1 1:1"] and peer.seen["threads"] == 1
    told = {"linear_c": 1.0, "cluster_balanced": False, "cluster_k": 100, "max_depth": 3, "n_trees": 2}
    assert peer.seen["told"] == told
    scores, labels = model.topk(features, 3)
    assert labels.tolist() == [[2, 0, 1], [0, 1, 2], [1, 0, 2], [0, 1, 2]]  # the best first, then those not reached
    np.testing.assert_allclose(1 / (1 + np.exp(-scores[0])), [0.8, 0.6, peer.SMALLEST], rtol=1e-4)
    with pytest.raises(InputError, match="measured and not kept"):
        model.load(model.state())


def test_its_configuration_is_its_constructor(peer):
    import inspect

    held = yaml.safe_load((EXAMPLES / "conf" / "encoder" / "omikuji.yaml").read_text())
    assert held.pop("_target_") == "peer_omikuji.Omikuji"
    assert set(held) == set(inspect.signature(peer.Omikuji).parameters)
