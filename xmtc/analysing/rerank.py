"""The best labels of each document in another order: by a model that reads the texts, or by one that knows the truth.

A re-ranker is any function of the texts, the names of each text's candidates, best first, and their probabilities. It
answers with names, best first, for each text; as many as it likes. LabelCoRank asks a language model for 5 of 10: what
it leaves out follows in the first stage's order, and what it makes up or says twice is dropped. None is called, and no
network asked, unless the user names one.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from xmtc.data.lists import Lists
from xmtc.errors import InputError
from xmtc.given import listed
from xmtc.labels import LabelTable
from xmtc.metrics.hits import hits

Reranker = Callable[[Sequence[str], Sequence[Sequence[str]], Sequence[Sequence[float]]], Sequence[Sequence[str]]]
DEPTH = 10  # candidates of each document, as in LabelCoRank's table 7
AT_ONCE = 256  # documents in one call


def reranker_of(given: str) -> Reranker:
    """The function that `module:function` names, imported. A module may lie in the current folder. InputError: there is
    no such thing."""
    module, colon, name = given.partition(":")
    if not (module and colon and name):
        raise InputError(f"rerank: expected module:function, got {given}")
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` has it, but not an installed command
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise InputError(f"rerank={given}: {module} cannot be imported ({error})") from None
    if not callable(found):
        raise InputError(f"rerank={given}: {module} has no function {name}")
    return found


def oracle(lists: Lists, depth: int = DEPTH) -> np.ndarray:
    """(N, K) labels, the true ones among each document's first `depth` in front: the most that re-ordering can reach
    (RoBERTa* of LabelCoRank's table 7)."""
    head = lists.labels[:, :depth]
    order = np.argsort(~hits(torch.from_numpy(head), lists.gold).numpy(), axis=1, kind="stable")
    return np.concatenate([np.take_along_axis(head, order, 1), lists.labels[:, depth:]], 1)


def reranked(lists: Lists, labels: LabelTable, texts: Iterable[str], reranker: Reranker) -> np.ndarray:
    """(N, K) labels, the best ten of each document in the re-ranker's order. texts: of all N documents.
    InputError: an answer that is no list of names for each text."""
    found = lists.labels.copy()
    texts = iter(texts)
    for start in range(0, len(lists), AT_ONCE):
        read = list(islice(texts, min(AT_ONCE, len(lists) - start)))
        rows = range(start, start + len(read))
        places = [lists.labels[row, :DEPTH][lists.labels[row, :DEPTH] >= 0].tolist() for row in rows]
        names = [[labels[i].name for i in own] for own in places]
        scores = [lists.scores[row, : len(own)].tolist() for row, own in zip(rows, places, strict=True)]
        answers = listed(reranker(read, names, scores), "rerank: the answer", "lists of label names")
        if len(answers) != len(read):
            raise InputError(f"rerank: expected a list of names for each of {len(read)} texts, got {len(answers)}")
        for row, own, called, answer in zip(rows, places, names, answers, strict=True):
            found[row, : len(own)] = _filled(own, called, listed(answer, "rerank: an answer", "label names"))
    return found


def _filled(candidates: list[int], names: list[str], answer: Sequence[str]) -> list[int]:
    """The candidates in the answer's order, then the others as they were. A name of several stands for each once."""
    left: dict[str, list[int]] = {}
    for name, candidate in zip(names, candidates, strict=True):
        left.setdefault(name, []).append(candidate)
    chosen = [left[name].pop(0) for name in answer if isinstance(name, str) and left.get(name)]
    return [*chosen, *(i for i in candidates if i not in chosen)]
