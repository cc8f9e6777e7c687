"""Tiny corpora for tests: from lists, or random."""

import numpy as np

from xmtc.data.preparation import prepare
from xmtc.data.sources.base import Source
from xmtc.data.text import Words


class Listed(Source):
    """A corpus from lists. fail: part -> document after which reading it breaks off. files_: as `files()`."""

    def __init__(self, fail=None, files=(), names=None, **parts):
        self._parts, self._fail, self._files, self._names = parts, fail or {}, list(files), names or {}

    def parts(self):
        return list(self._parts)

    def documents(self, part):
        for number, document in enumerate(self._parts[part]):
            if self._fail.get(part) == number:
                raise self._fail["error"]
            yield document

    def files(self):
        return self._files

    def fingerprint(self):
        return {"parts": {name: [[text, list(labels)] for text, labels in part] for name, part in self._parts.items()}}

    def label_names(self):
        return self._names


def random_documents(count, seed, words=40, labels=12, empty=0.1):
    random = np.random.default_rng(seed)
    documents = []
    for _ in range(count):
        length = 0 if random.random() < empty else int(random.integers(1, 12))
        text = " ".join(f"w{int(w)}" for w in random.integers(0, words, length) ** 2 // words)
        documents.append((text, [f"l{int(i)}" for i in random.integers(0, labels, random.integers(0, 5))]))
    return documents


def small_store(folder, text=None, **parts):
    defaults = {"train": random_documents(60, 0), "test": random_documents(20, 2, words=60, labels=15)}
    return prepare(Listed(**(parts or defaults)), "small", text or Words(), folder, workers=1)
