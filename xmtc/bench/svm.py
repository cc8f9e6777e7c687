"""One-vs-rest linear SVMs: a block of labels in one pass over the documents, against LIBLINEAR label by label."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from xmtc.bench.compare import Bench
from xmtc.fitted.solver import WIDTH, fit_block


def svm(documents: int = 6000, words: int = 50_000, length: int = 245, labels: int = WIDTH) -> Bench:
    """EURLEX57K's 245 distinct words a document, drawn by Zipf's law with exponent 1.1; each label of 30 documents that
    share ten words. C = 1 and tolerance 0.1 both ways, one thread. facts: the cost that is minimised, summed over
    labels, ours and LIBLINEAR's over that of LIBLINEAR at tolerance 1e-4, for the first four labels."""
    random = np.random.default_rng(0)
    chances = 1 / np.arange(1, words + 1) ** 1.1
    drawn = random.choice(words, (documents, length), p=chances / chances.sum())
    has = np.zeros((documents, labels), bool)
    for label in range(labels):
        own = random.choice(documents, 30, replace=False)
        has[own, label] = True
        drawn[own[:, None], random.choice(length, 10, replace=False)] = random.choice(words, 10)
    features = csr_matrix(
        (np.ones(drawn.size, np.float32), drawn.ravel(), np.arange(documents + 1) * length), (documents, words)
    )
    features.sum_duplicates()
    features.data = 1 + np.log(features.data)
    norms = np.sqrt(np.asarray(features.multiply(features).sum(axis=1))).ravel()
    features.data /= np.repeat(norms, np.diff(features.indptr)).astype(np.float32)

    def liblinear(tolerance: float, some: int = labels):
        from sklearn.svm import LinearSVC

        fits = [LinearSVC(tol=tolerance, random_state=0).fit(features, has[:, label]) for label in range(some)]
        return np.stack([fit.coef_[0] for fit in fits], 1), np.concatenate([fit.intercept_ for fit in fits])

    def cost(machines) -> float:
        weights, bias = (array[..., :4].astype(np.float64) for array in machines)
        missed = np.maximum(0, 1 - np.where(has[:, :4], 1, -1) * (features @ weights + bias))
        return float(0.5 * (weights**2).sum() + 0.5 * (bias**2).sum() + (missed**2).sum())

    def ours():
        return fit_block(features, has, 1.0, 0.1)

    least = cost(liblinear(1e-4, 4))
    facts = {"documents": documents, "labels": labels, "cost_ours": cost(ours()) / least,
             "cost_baseline": cost(liblinear(0.1, 4)) / least}  # fmt: skip
    return Bench(lambda: liblinear(0.1), ours, facts)
