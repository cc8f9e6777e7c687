"""A tree over labels, and the linear machines of its nodes (Bonsai: Khandagale et al., Machine Learning 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix, diags, hstack

from xmtc.fitted import solver

ROUNDS = 20  # of k-means at most
GAIN = 1e-4  # of the mean cosine, below which it ends


@dataclass
class Node:
    """labels: all below it. group: which child each of them is under. child: the number of a node, or ~label."""

    labels: np.ndarray
    group: np.ndarray
    child: np.ndarray


def partition(means_LV: csr_matrix, labels: np.ndarray, arity: int, leaves: int, depth: int, seed) -> list[Node]:
    """The nodes, the root first and a child behind its parent: labels are grouped by spherical k-means of the mean
    documents they have, up to `arity` groups a node, until a node has at most `leaves` of them or is `depth` deep.

    means: rows of length 1. labels: those that are to be in the tree.
    """
    random = np.random.default_rng(seed)
    nodes: list[Node] = []
    waiting = [(labels, 1)]
    for labels, level in waiting:  # grows as it is read
        group = None
        if len(labels) > leaves and level < depth:
            group = cluster(means_LV[labels], min(arity, len(labels)), random)
            if not group.any():  # all alike
                group = None
        if group is None:
            nodes.append(Node(labels, np.arange(len(labels)), ~labels))
            continue
        first = len(waiting)
        waiting.extend((labels[group == g], level + 1) for g in range(group.max() + 1))
        nodes.append(Node(labels, group, np.arange(first, len(waiting))))
    return nodes


def cluster(rows_NV: csr_matrix, k: int, random: np.random.Generator) -> np.ndarray:
    """The group of each row, 0 to at most k - 1, none empty. Cost: a product of rows and k centres a round."""
    rows_NV = _own_columns(rows_NV)[0]
    N = rows_NV.shape[0]
    centres_KV = rows_NV[random.choice(N, k, replace=False)].toarray()
    before = -np.inf
    for _ in range(ROUNDS):
        cosine_NK = rows_NV @ centres_KV.T
        group, score = cosine_NK.argmax(1), cosine_NK.max(1).mean()
        if score - before < GAIN:
            break
        before = score
        members = csr_matrix((np.ones(N, np.float32), (group, np.arange(N))), shape=(k, N))
        centres_KV = (members @ rows_NV).toarray()
        centres_KV /= np.maximum(np.linalg.norm(centres_KV, axis=1, keepdims=True), 1e-12)
    return np.unique(group, return_inverse=True)[1]


def label_means(features_NV: csr_matrix, targets_NL: csr_matrix) -> csr_matrix:
    """(L, V): the documents of each label, summed and brought to length 1."""
    sums_LV = csr_matrix(targets_NL.T.astype(np.float32) @ features_NV)
    length_L = np.sqrt(np.asarray(sums_LV.multiply(sums_LV).sum(axis=1)).ravel())
    return csr_matrix(diags((1 / np.maximum(length_L, 1e-12)).astype(np.float32)) @ sums_LV)


def machines(
    nodes: list[Node], features_NV: csr_matrix, targets_NL: csr_matrix, fit: Callable, threads: int
) -> Iterator[tuple[np.ndarray, csr_matrix, np.ndarray]]:
    """Of each node: words (W,) ascending, weights (W, C) of its C children and biases (C,). A child's machine is fitted
    on the documents with a label of the node: those with one of the child's against the others.

    fit: features (n, W), has (n, c) bool -> weights (W, c), bias (c,), for c <= solver.WIDTH children.
    """
    columns_NL = csc_matrix(targets_NL)

    def one(node: Node) -> tuple[np.ndarray, csr_matrix, np.ndarray]:
        own_NL = csr_matrix(columns_NL[:, node.labels])
        rows = np.flatnonzero(np.diff(own_NL.indptr))
        below = csr_matrix((np.ones(len(node.labels), np.int32), (np.arange(len(node.labels)), node.group)))
        has_NC = csc_matrix(own_NL[rows].astype(np.int32) @ below)
        own_NW, words = _own_columns(features_NV[rows])
        blocks = (has_NC[:, c : c + solver.WIDTH].toarray() > 0 for c in range(0, has_NC.shape[1], solver.WIDTH))
        parts = [(csr_matrix(weights), bias) for weights, bias in (fit(own_NW, block) for block in blocks)]
        weights_WC = hstack([part[0] for part in parts], format="csr")
        kept = np.flatnonzero(np.diff(weights_WC.indptr))
        return words[kept], weights_WC[kept], np.concatenate([part[1] for part in parts])

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(one, nodes)


def _own_columns(rows_NV: csr_matrix) -> tuple[csr_matrix, np.ndarray]:
    """Without the columns that are empty in these rows, and which are left."""
    kept, places = np.unique(rows_NV.indices, return_inverse=True)
    return csr_matrix((rows_NV.data, places, rows_NV.indptr), shape=(rows_NV.shape[0], len(kept))), kept
