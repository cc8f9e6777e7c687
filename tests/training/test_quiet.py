"""Lightning is quiet during a run, and as before behind it."""

import logging
import subprocess
import warnings

import pytest

from xmtc.training.quiet import quiet_lightning

PROGRAM = """
import xmtc
words = ["encoder=bow", "encoder.embedding.size=8", "head=none", "debug=fast", "logger=csv", "data.limit=16"]
print(xmtc.run([*words, "paths.cache_dir=cache", "hydra.run.dir=run"])["steps"])
"""


def test_a_run_from_python_says_nothing_of_its_own_accord(python, tmp_path):
    done = subprocess.run([python, "-"], input=PROGRAM, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_whoever_uses_lightning_beside_it_hears_it_as_before(caplog):
    there = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    with caplog.at_level(logging.INFO, "pytorch_lightning"):
        with quiet_lightning():
            there.info("within")
            there.warning("a warning")
            warnings.warn("Checkpoint directory x exists and is not empty", stacklevel=1)
        there.info("behind")
    assert caplog.messages == ["a warning", "behind"]
    with pytest.warns(UserWarning, match="not empty"):
        warnings.warn("Checkpoint directory x exists and is not empty", stacklevel=1)
