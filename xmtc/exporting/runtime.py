"""A graph made by format=onnx, run by onnxruntime: texts in, labels out, without PyTorch's model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xmtc.config.make import make
from xmtc.data.checksums import require_whole
from xmtc.data.reading import TextReader, read_vocabulary
from xmtc.errors import InputError
from xmtc.exporting.folder import FACTS
from xmtc.exporting.inputs import batch_inputs
from xmtc.given import whole
from xmtc.labels import LabelTable
from xmtc.parsing import read_json, read_yaml
from xmtc.tagger import Tagger, check_texts


def session(path: Path, threads: int = 0):
    """An onnxruntime session on the CPU. threads: 0 leaves its choice. InputError: not installed, no graph."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError("onnxruntime is not installed: pip install 'xmtc[export]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception class for every cause
        raise InputError(f"{path}: no graph that onnxruntime can run ({str(error).splitlines()[0]:.120})") from None


class OnnxTagger(Tagger):
    """`OnnxTagger(FOLDER).predict(texts)`, as the model's own `predict`; k at most the graph's, no raw ranking.

    int8: the graph in 8 bits. Thread-safe.
    """

    def __init__(self, folder: str | Path, int8: bool = False, threads: int = 0):
        folder = Path(folder)
        require_whole(folder, [path.relative_to(folder).as_posix() for path in folder.glob("**/*")])
        try:
            facts, config = read_json(folder / FACTS, dict), read_yaml(folder / "config.yaml", dict)
        except InputError as error:
            raise InputError(f"{folder}: no export of format=onnx ({error})") from None
        if facts.get("kind") != "onnx":
            raise InputError(f"{folder}: an export of format={facts.get('kind')}, expected onnx")
        super().__init__(folder, config, LabelTable(folder / "labels.tsv"))
        vocabulary, _ = read_vocabulary(folder / "text")
        layout = "bag" if facts["inputs"][0] == "words" else "padded"
        self.reader = TextReader(make(config["encoder"]["text"]), vocabulary, layout, facts["width"])
        self.k = facts["k"]
        self.batch_size = min(32, facts.get("largest_batch", 32))
        self.session = session(folder / ("model.int8.onnx" if int8 else "model.onnx"), threads)

    def predict_batch(self, texts: Sequence[str], k: int, raw: bool = False, batch_size: int | None = None):
        """Logits (B, k) and label indices (B, k), best first. Texts of unlike lengths are asked one by one where their
        neighbours' padding would change a score."""
        if raw:
            raise InputError("raw: the graph holds the enhanced ranking alone")
        documents, k = self.reader.documents(check_texts(texts)), min(whole(k, "k"), self.k)
        size = self.batch_size if batch_size is None else whole(batch_size, "batch_size")
        scores, labels = np.zeros((len(documents), k), np.float32), np.zeros((len(documents), k), np.int64)
        for rows in self._batches(documents.lengths(), size):
            found = self.session.run(None, batch_inputs(documents[rows]))
            scores[rows], labels[rows] = (array[:, :k] for array in found)
        return scores, labels

    def _batches(self, lengths: np.ndarray, size: int) -> list[list[int]]:
        lengths = np.maximum(lengths, self.reader.width)
        order = np.argsort(lengths, kind="stable").tolist()
        batches: list[list[int]] = []
        for i in order:
            alike = self.reader.layout == "bag" or (batches and lengths[batches[-1][0]] == lengths[i])
            if batches and alike and len(batches[-1]) < size:
                batches[-1].append(i)
            else:
                batches.append([i])
        return batches
