"""Store to batch, in documents a second: ours against a data set of single documents with a padding collate."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from xmtc.bench.compare import Bench
from xmtc.data.collate import Documents
from xmtc.data.files import save
from xmtc.data.sampler import TrainingSampler
from xmtc.data.store import Part
from xmtc.data.text import Words
from xmtc.training.record import peak_memory_bytes

BATCH = 64


def loader(documents: int = 20_000, tokens: int = 500, words: float = 730) -> Bench:
    """Documents of `words` tokens on average (EURLEX57K's), cut at `tokens`; 5 labels each. facts: documents/s with
    4,000 and with 3,000,000 labels, and peak resident memory after each of three epochs of ours."""
    folder = tempfile.TemporaryDirectory()
    small, large = (_part(Path(folder.name) / str(n), documents, words, n) for n in (4_000, 3_000_000))
    text = Words(length=tokens)

    def epoch(part: Part, seed: int = 0) -> int:
        sampler = TrainingSampler(len(part), BATCH, seed)
        return sum(len(b) for b in DataLoader(Documents(part, text, "padded"), batch_size=None, sampler=sampler))

    def baseline() -> int:
        # the folder lives as long as this function does
        return sum(len(b) for b in DataLoader(_Single(small, tokens, folder), BATCH, shuffle=True, collate_fn=_pad))

    memory, speed = [], {}
    for number in range(3):
        epoch(small, number)
        memory.append(peak_memory_bytes())
    for part, labels in ((large, 3_000_000), (small, 4_000), (large, 3_000_000), (small, 4_000)):
        begun = time.perf_counter()
        epoch(part)
        speed.setdefault(labels, []).append(documents / (time.perf_counter() - begun))
    facts = {"documents": documents, "tokens": tokens, "batch": BATCH, "peak_memory_bytes_by_epoch": memory}
    facts["by_labels"] = {str(labels): round(max(rates)) for labels, rates in speed.items()}
    return Bench(baseline, lambda: epoch(small), facts, per_call=documents)


def _part(folder: Path, documents: int, words: float, labels: int) -> Part:
    random = np.random.default_rng(0)
    lengths = np.maximum(1, random.lognormal(np.log(words) - 0.18, 0.6, documents).astype(np.int64))
    folder.mkdir()
    save(folder / "tokens.npy", random.integers(2, 166_000, lengths.sum(), dtype=np.int32))
    save(folder / "token_offsets.npy", np.concatenate([[0], np.cumsum(lengths)]))
    ids = np.sort(random.integers(0, labels, (documents, 5), dtype=np.int32), axis=1)
    save(folder / "label_ids.npy", ids.reshape(-1))
    save(folder / "label_offsets.npy", np.arange(documents + 1) * 5)
    return Part.load(folder)


class _Single(Dataset):
    def __init__(self, part: Part, tokens: int, keep):
        self.part, self.tokens, self.keep = part, tokens, keep

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, number: int):
        part = self.part
        start, stop = part.token_offsets[number], part.token_offsets[number + 1]
        labels = part.label_ids[part.label_offsets[number] : part.label_offsets[number + 1]]
        tokens = part.tokens[start : min(stop, start + self.tokens)]
        return torch.tensor(tokens, dtype=torch.int64), torch.tensor(labels, dtype=torch.int64)


def _pad(items):
    return pad_sequence([tokens for tokens, _ in items], batch_first=True)
