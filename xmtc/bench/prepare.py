"""From texts to a store, against NLTK's word_tokenize and counting in Python by one process, as the papers do it."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path

from xmtc.bench.compare import Bench
from xmtc.data.preparation import prepare
from xmtc.data.sources.base import Source
from xmtc.data.sources.folder import FolderSource
from xmtc.data.sources.synthetic import SyntheticSource
from xmtc.data.text import Words, nltk_words


class First(Source):
    """The first documents of each part of another corpus, in memory, so that reading costs neither way anything."""

    def __init__(self, source: Source, count: int):
        self.kept = {part: list(islice(source.documents(part), count)) for part in ("train", "test")}

    def parts(self):
        return list(self.kept)

    def documents(self, part):
        return iter(self.kept[part])

    def files(self):
        return []

    def fingerprint(self):
        return {}


def prepare_bench(documents: int = 10_000) -> Bench:
    """EURLEX57K where XMTC_DATA holds it, else generated documents of its length. The baseline only tokenises, counts
    document frequencies and maps words to ids; ours also writes the store, by one process a core."""
    folder = Path(os.environ.get("XMTC_DATA", "data")) / "eurlex57k"
    real = FolderSource.present(folder)
    made = SyntheticSource("eurlex57k", train=documents, test=documents, vocabulary=200_000)
    source = First(FolderSource(str(folder)) if real else made, documents)
    words = sum(len(text.split()) for part in source.kept.values() for text, _ in part)

    def ours():
        with tempfile.TemporaryDirectory() as cache:
            prepare(source, "bench", Words("fast"), Path(cache))

    def baseline():
        frequency: Counter = Counter()
        tokenised = {part: [] for part in source.kept}
        for part, kept in source.kept.items():
            for text, _ in kept:
                found = [word.lower() for word in nltk_words(text) if any(c.isalnum() for c in word)]
                if part == "train":
                    frequency.update(set(found))
                tokenised[part].append(found)
        ids = {word: i for i, (word, _) in enumerate(frequency.most_common(499_998), start=2)}
        return {part: [[ids.get(word, 1) for word in found] for found in texts] for part, texts in tokenised.items()}

    facts = {"corpus": "eurlex57k" if real else "synthetic", "processes": os.cpu_count(), "words": words}
    return Bench(baseline, ours, facts | {"documents": sum(map(len, source.kept.values()))})
