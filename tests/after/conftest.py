"""Small finished runs, one for each kind of encoder, made once for this folder."""

import functools

import pytest

import xmtc

SMALL = [
    "dataset=toy",
    "dataset.source.train=160",
    "dataset.source.validation=40",
    "dataset.source.test=41",
    "logger=csv",
    "recipe.max_epochs=1",
    "prepare_workers=1",
    "data.evaluation_batch_size=16",
]
BOW = ["encoder=bow", "encoder.embedding.size=16", "recipe.max_epochs=4"]
XMLCNN = ["encoder=xmlcnn", "encoder.filters=4", "encoder.bottleneck=8", "embedding.size=16"]
ENCODERS = {
    "bow": BOW,
    "xmlcnn": XMLCNN,
    "attentionxml": ["encoder=attentionxml", "encoder.hidden=8", "embedding.size=16"],
    "bertxml": ["encoder=bertxml", "encoder.feedforward=16", "embedding.size=16"],
}


@pytest.fixture(scope="session")
def encoders():
    """name -> overrides of a tiny one."""
    return ENCODERS


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def make_run(cache, tmp_path_factory):
    """`make_run(*overrides)`: the run directory of a training of a second or two, made once; copy it to change it."""

    @functools.cache
    def make(*overrides):
        folder = tmp_path_factory.mktemp("run") / "run"
        xmtc.run([*SMALL, f"paths.cache_dir={cache}", f"hydra.run.dir={folder}", *overrides])
        return folder

    return make


@pytest.fixture(scope="session")
def run(make_run):
    """A bag of words with a head that has learnt something."""
    return make_run(*BOW, "head=lcenet", "head.rank=4", "head.zero_init=false", "seed=5", "recipe.optimizer.lr=2e-2")


@pytest.fixture(scope="session")
def other_run(make_run):
    """XML-CNN without a head on the same documents."""
    return make_run(*XMLCNN, "head=none", "seed=6")


@pytest.fixture(scope="session")
def test_texts():
    """The toy corpus' test documents, (text, label ids), as those runs saw them."""
    from xmtc.data.sources.toy import ToySource

    return list(ToySource(train=160, validation=40, test=41).documents("test"))
