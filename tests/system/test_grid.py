"""Every encoder with every head goes the whole way."""

import json

import pytest

SMALLER = {
    "xmlcnn": ["encoder.filters=4", "encoder.bottleneck=16"],
    "bow": ["encoder.embedding.size=16"],
    "bertxml": ["encoder.feedforward=16"],
    "meshprobenet": ["encoder.hidden=8"],
    "attentionxml": ["encoder.hidden=8", "encoder.mlp=[8]"],
    "kimcnn": ["encoder.filters=4"],
    "lsan": ["embedding.size=8", "encoder.attention=4"],
    "star_transformer": ["encoder.heads=2"],
    "sgm": ["encoder.hidden=8", "encoder.label_size=8", "encoder.logit_loss=0.1"],
    "leam": ["encoder.hidden=8", "encoder.ngram=3"],
}
HEADS = {"none": [], "cornet": ["head.rank=8"], "lcenet": ["head.rank=8"]}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", SMALLER)
def test_trains_and_tests(train, encoder, head):
    check(train, encoder, head)


@pytest.mark.parametrize("encoder", SMALLER)
def test_trains_and_tests_as_the_papers_do(train, encoder):
    check(train, encoder, "cornet", "recipe=paper", "embedding=random", "recipe.validation.interval=3")


def check(train, encoder, head, *extra):
    result, folder = train(f"encoder={encoder}", f"head={head}", *SMALLER[encoder], *HEADS[head], *extra)
    assert 0 <= result["test"]["P@1"] <= 1 and result["test"]["nDCG@1"] == result["test"]["P@1"]
    assert json.loads((folder / "metrics.json").read_text()) == json.loads(json.dumps(result))
