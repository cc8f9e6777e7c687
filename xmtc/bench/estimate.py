"""Estimated against measured peak memory of short real runs, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from xmtc.bench.compare import Bench

# encoder x head x execution x dtype
RUNS = (
    "encoder=bow head=none execution=dense",
    "encoder=bow head=cornet execution=dense",
    "encoder=bow head=cornet execution=chunked",
    "encoder=bow head=cornet execution=chunked execution.keep_raw=false execution.update=adam",
    "encoder=bow head=lcenet execution=chunked execution.update=sgd execution.weights=bf16",
    "encoder=xmlcnn head=none execution=dense",
    "encoder=xmlcnn head=cornet execution=chunked",
    "encoder=xmlcnn head=cornet execution=dense trainer.precision=bf16-mixed",
    "encoder=bertxml head=lcenet execution=dense",
    "encoder=meshprobenet head=cornet execution=chunked",
    "encoder=attentionxml head=none execution=chunked",
    "encoder=bow head=cornet execution=dense data.batch_size=256 data.evaluation_batch_size=256",
    "encoder=bow head=cornet execution=chunked trainer.precision=bf16-mixed",
    "encoder=attentionxml head=lcenet execution=dense dataset.labels=2000 dataset.labels_per_document=9",
    "encoder=kimcnn head=lcenet execution=auto",
)


def estimate_bench(labels: int = 20_000, documents: int = 64, words: int = 200, steps: int = 3, skip: int = 0) -> Bench:
    """facts.rows: of every run its overrides, estimated and measured bytes and their ratio. largest_error: of a ratio
    from 1. Measured is the most that the process ever held, as metrics.json says. skip: of RUNS, the first so many."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [_run(words_.split(), Path(folder), labels, documents, words, steps) for words_ in RUNS[skip:]]
    worst = max(abs(row["ratio"] - 1) for row in rows)
    return Bench(None, None, {"labels": labels, "documents": documents, "rows": rows, "largest_error": worst})


def _run(overrides: list[str], folder: Path, labels: int, documents: int, words: int, steps: int) -> dict:
    target = folder / str(len(list(folder.iterdir())))
    sizes = [
        f"dataset.labels={labels}", "dataset.train=320", "dataset.validation=64", "dataset.test=64",
        f"dataset.labels_per_document={max(labels // 220, 1)}", f"dataset.words_per_document={words}",
        "dataset.vocabulary=20000", f"data.batch_size={documents}", f"data.evaluation_batch_size={2 * documents}",
    ]  # fmt: skip
    fixed = ["dataset=synthetic", "logger=csv", f"trainer.max_steps={steps}", f"paths.cache_dir={folder / 'cache'}"]
    rank = [] if "head=none" in overrides else ["head.rank=100"]
    command = [sys.executable, "-m", "xmtc.run", *fixed, *sizes, *rank, *overrides, f"hydra.run.dir={target}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(overrides)}: {done.stderr[-2000:]}")
    found = json.loads((target / "metrics.json").read_text())
    estimated, measured = found["estimated_memory_bytes"], found["peak_memory_bytes"]
    row = {"overrides": " ".join(overrides), "estimated": estimated, "measured": measured}
    print(f"{estimated / measured:.3f} of {measured / 2**20:.0f} MiB: {row['overrides']}", file=sys.stderr, flush=True)
    return row | {"ratio": estimated / measured}
