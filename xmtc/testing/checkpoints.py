"""A run directory of any size without a training: random weights in the shapes of a configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf, open_dict
from safetensors.torch import save_file

from xmtc.config import compose_checked
from xmtc.config.make import make
from xmtc.data.vocabulary import Vocabulary
from xmtc.encoders.make import make_encoder
from xmtc.loading import WEIGHTS


def synthetic_run(folder: Path, overrides: Sequence[str], labels: int, words: int, documents: int = 1_000_000) -> Path:
    """A folder that `xmtc.load` opens, its weights as safetensors. Word i is `w<i>`, met in about documents / i texts.

    Cost: the weights once in memory and once on disk.
    """
    folder = Path(folder)
    text = folder / "text"
    text.mkdir(parents=True)
    composed = compose_checked(list(overrides))
    with open_dict(composed):
        composed.logger = None  # its folder would be that of a run under way
    config = OmegaConf.to_container(composed, resolve=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)), encoding="utf-8")
    names = ["<pad>", "<unk>", *(f"w{i}" for i in range(2, words))]
    (text / "vocabulary.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    frequency = np.maximum(documents // np.maximum(np.arange(words), 1), 2)
    np.save(text / "document_frequency.npy", frequency.astype(np.int64))
    length = config["encoder"]["text"]["length"] or 1
    facts = {"format": 1, "padding": 0, "unknown": 1, "num_documents": documents, "width": length}
    (text / "meta.json").write_text(json.dumps(facts), encoding="utf-8")
    with open(folder / "labels.tsv", "w", encoding="utf-8") as file:
        file.writelines(f"{i}\tl{i}\tlabel number {i}\t{labels - i}\n" for i in range(labels))
    encoder = make_encoder(config["encoder"], Vocabulary(words, frequency, documents, text), labels)
    decoder = encoder.make_decoder(labels)
    head = make(config["head"], num_labels=labels)
    parts = torch.nn.ModuleDict({"encoder": encoder, "decoder": decoder, "head": head})
    save_file({name: tensor.contiguous() for name, tensor in parts.state_dict().items()}, folder / WEIGHTS)
    return folder


def zipf_texts(count: int, length: int, words: int, seed: int = 0, exponent: float = 1.3) -> list[str]:
    """Texts of `length` words by Zipf's law."""
    weights = np.arange(1, words - 1, dtype=np.float64) ** -exponent
    drawn = np.random.default_rng(seed).choice(words - 2, (count, length), p=weights / weights.sum()) + 2
    return [" ".join(f"w{word}" for word in row) for row in drawn]
