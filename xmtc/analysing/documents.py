"""The test documents of a finished run, read once more from its corpus."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from xmtc.data.lists import Lists
from xmtc.data.preparation import dataset_sha256
from xmtc.data.sources.subset import make_source
from xmtc.errors import InputError
from xmtc.labels import LabelTable
from xmtc.parsing import read_yaml
from xmtc.reporting.runs import Run


def test_texts(run: Run, lists: Lists, labels: LabelTable) -> Iterator[str]:
    """The text of each document of `lists`, in order. InputError: the corpus is not here or is not what the run was
    tested on (by its hash, and by the labels of each document). Nothing is downloaded. Cost: the hashes of the corpus'
    files, which are remembered in the run's cache folder, and a stream of the documents that are asked for."""
    config = read_yaml(run.folder / "config.yaml", dict)
    dataset, paths = config.get("dataset"), config.get("paths")
    if not isinstance(dataset, dict) or "source" not in dataset or not isinstance(paths, dict):
        raise InputError(f"{run.folder}: does not tell which corpus its documents are from")
    source = make_source(dataset)
    if dataset_sha256(source, paths["cache_dir"]) != run.dataset_sha256:
        raise InputError(f"{run.folder}: its corpus has changed since")
    ids = [*labels.ids, *lists.unseen]
    offsets, gold = lists.gold.offsets.tolist(), lists.gold.ids.tolist()
    row = -1
    for row, (text, own) in enumerate(islice(source.reader().documents("test"), len(lists))):
        if {ids[i] for i in gold[offsets[row] : offsets[row + 1]]} != set(own):
            raise InputError(
                f"{run.folder}: test document {row} has other labels in predictions.npz than in the corpus"
            )
        yield text
    if row + 1 < len(lists):
        raise InputError(f"{run.folder}: {len(lists)} documents in predictions.npz, {row + 1} in the corpus")
