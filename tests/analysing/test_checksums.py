"""Numbers that others printed of corpora which may not be passed on: checked where the corpora are."""

import lzma
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from xmtc.analysing.dependencies import distance
from xmtc.analysing.sets import diversity, set_matrices
from xmtc.data.batch import Labels
from xmtc.data.lists import Lists

DATA = Path(os.environ.get("XMTC_DATA", "data"))


def labels_of_part(path):
    """The label set of each document, by what the plain-text layout is: a line a document."""
    if not (DATA / path).is_file():
        pytest.skip(f"{path} is not here")
    with lzma.open(DATA / path, "rt", encoding="utf-8") as file:
        return [line.split() for line in file]


def gold_of(rows):
    """Their sets as `xmtc.analyse` has them."""
    ids = {label: i for i, label in enumerate(sorted({label for row in rows for label in row}))}
    offsets = torch.tensor(np.cumsum([0, *map(len, rows)]))
    labels = Labels(torch.tensor([ids[label] for row in rows for label in row]), offsets)
    nothing = np.zeros((len(rows), 1))
    return set_matrices(Lists(nothing.astype(np.int64) - 1, nothing.astype(np.float32), labels), 0.5, len(ids))[1]


def test_aapds_test_documents_have_392_label_sets():
    """LACO, table 6; SGM: 1,000 documents, 2.41 labels each over all parts. The labels' dependencies are their own."""
    rows = labels_of_part("aapd-valtest/test_labels.txt.xz")
    gold = gold_of(rows)
    assert gold.shape == (1000, 54)
    assert diversity(gold) == {"distinct": 392, "empty": 0}
    assert distance(gold, gold) == {"sum": 0.0, "by_label": 0.0, "by_pair": 0.0}
    assert sum(map(len, rows)) / 1000 == pytest.approx(2.41, abs=0.015)


@pytest.mark.parametrize("part, documents, printed", [
    ("train", 7770, [2877, 1650, 538, 433, 389, 347, 212, 197]),
    ("test", 3019, [1087, 719, 179, 149, 189, 131, 71, 89]),
])  # fmt: skip
def test_reuters_has_its_largest_categories(part, documents, printed):
    """The ModApte split's, as papers print them since Dumais et al. (CIKM 1998)."""
    rows = labels_of_part(f"reuters21578/{part}_labels.txt.xz")
    counts = Counter(label for row in rows for label in set(row))
    names = ("earn", "acq", "money-fx", "grain", "crude", "interest", "wheat", "ship")
    assert [counts[name] for name in names] == printed
    gold = gold_of(rows)
    assert gold.shape == (documents, 90) and distance(gold, gold)["sum"] == 0
