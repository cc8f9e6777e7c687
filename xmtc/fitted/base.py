"""What such a system is: TF-IDF features and label sets in, the k best labels of a document out.

It stands where an encoder stands (`encoder=br`), leaves the same run directory, and is scored by the same metrics. It
has no features for a correlation head; `python -m xmtc.enhance` puts one on its stored scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from torch import Tensor

from xmtc.config.check import import_target
from xmtc.data.collate import Documents
from xmtc.data.vocabulary import Vocabulary
from xmtc.errors import InputError
from xmtc.fitted.evidence import Evidence
from xmtc.fitted.features import tfidf
from xmtc.fitted.pairs import Pairs


class FittedModel:
    """Base. A constructor's signature is the configuration schema; it must have `text`, whose words are the features.

    min_documents: words (and pairs) met in fewer training documents are no features. bigrams: pairs of neighbouring
    words are features too.
    """

    layout = "bag"
    reads_padding = False
    distinct = False

    def __init__(self, text, min_documents: int = 1, bigrams: bool = False):
        self.text, self.min_documents, self.bigrams = text, min_documents, bigrams
        self.pairs: Pairs | None = None

    def learn_features(self, documents: Documents, vocabulary: Vocabulary) -> None:
        """What is a feature, from the documents to be fitted. Before the first call of `features`."""
        if self.bigrams:
            self.pairs = Pairs.learn(documents, vocabulary, self.min_documents)

    def features(self, documents: Documents, rows: np.ndarray, vocabulary: Vocabulary) -> csr_matrix:
        """(N, V), with pairs (N, V + P), of the documents at these N positions."""
        pairs = self.pairs and self.pairs.weights(*documents.tokens(rows), vocabulary)
        return tfidf(documents[rows].bags, vocabulary, self.min_documents, pairs)

    def check_can_fit(self) -> None:
        """InputError where fitting needs something that is not installed. Using what was fitted may do without it."""

    def fit(self, features_NV: csr_matrix, targets_NL: csr_matrix) -> None:
        """features float32, L2-normalised rows; targets bool. Called once; the same data give the same model."""
        raise NotImplementedError

    def topk(self, features_NV: csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Logits (N, k) float32 and labels (N, k) int64, best first, equal scores by ascending label; k at most L."""
        raise NotImplementedError

    def evidence(self, features_1V: csr_matrix, label: int) -> Evidence:
        """What each feature of a document adds to a label's logit: with the logit of no features they sum to
        `topk`'s, but for what a search left out. InputError: not known of this system."""
        raise InputError(f"explain: what a label of {type(self).__name__} leans on is not known")

    def feature_names(self, names: Mapping[int, str], columns: np.ndarray, vocabulary: Vocabulary) -> list[str]:
        """Of features, by the names of the words that they are made of."""
        V = vocabulary.size
        parts = [(i,) if i < V else divmod(self.pairs.keys[i - V], V) for i in columns]
        return [" ".join(names[word] for word in words) for words in parts]

    def state(self) -> dict[str, Tensor]:
        """What was fitted, as tensors: what the checkpoint holds."""
        return self.pairs.state() if self.pairs else {}

    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self.pairs = Pairs.of(state) if self.bigrams else None

    def num_parameters(self) -> int:
        """Numbers that were fitted."""
        return sum(tensor.numel() for tensor in self.state().values() if tensor.is_floating_point())


def is_fitted(node: Any) -> bool:
    """Whether a configuration's `encoder` node is of such a system. Costs its import."""
    if not isinstance(node, dict) or "_target_" not in node:
        return False
    target = import_target(node["_target_"], "encoder")
    return isinstance(target, type) and issubclass(target, FittedModel)


def best(scores_NL: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest of each row, largest first, equal ones by ascending column."""
    order = np.argsort(-scores_NL, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores_NL, order, 1).astype(np.float32), order.astype(np.int64)
