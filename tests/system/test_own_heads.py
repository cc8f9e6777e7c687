"""A run with a head of our own: what it knows of the training labels is in its run directory."""

import numpy as np
import torch

import xmtc

OPTIONS = ("encoder=bow", "encoder.embedding.size=16", "head=cooccurrence", "head.rank=4", "data.batch_size=32")


def test_it_is_trained_tested_and_loaded_without_its_corpus(train):
    result, folder = train(*OPTIONS, "execution=chunked", "execution.chunk=30")
    assert result["provenance"]["head"] == "cooccurrence"
    state = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    centre = state["head.blocks.0.centre"]
    table = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines()]
    documents = 160
    counts = torch.tensor([float(row[-1]) for row in table if row[-1].isdigit()])
    torch.testing.assert_close(centre, (counts + 0.5) / (documents + 1))  # the prior, half a document on both sides
    model = xmtc.load(folder)
    assert torch.equal(model.head.blocks[0].centre, centre)
    logits = torch.linspace(-6, 3, len(centre))[None]
    (block,) = model.head.blocks
    gate = torch.sigmoid(logits) - centre
    context = torch.nn.functional.elu(gate @ block.gather_weight + block.gather_bias)
    expected = logits + context @ block.spread_weight.T + block.spread_bias
    torch.testing.assert_close(model.head(logits), expected)
    assert np.isfinite(result["test"]["nDCG@5"]) and block.spread_weight.abs().sum() > 0
