"""What a run leaves in the process that made it."""

import gc
import weakref

import pytest

from xmtc import job
from xmtc.training import session


@pytest.mark.parametrize("large", [True, False])
def test_the_weights_of_a_large_model_are_given_back(train, monkeypatch, large):
    built, build = [], session.build

    def watched(config):
        made = build(config)
        built.append(weakref.ref(made.module))
        return made

    monkeypatch.setattr(session, "build", watched)
    monkeypatch.setattr(job, "LARGE", 0 if large else 10**9)
    gc.disable()  # no collection by chance
    try:
        train("encoder=bow", "head=none", "encoder.embedding.size=16")
        assert (built[0]() is None) == large
    finally:
        gc.enable()
