"""Commands import torchmetrics without what it brings along; who imports xmtc gets all of it."""

import importlib.util
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from xmtc import lean

PROGRAM = """
import json, sys
from xmtc.entry import ended
from xmtc.lean import Lean, lean_imports

lean_imports()
lean_imports()
waiting = [type(finder) for finder in sys.meta_path].count(Lean)
import lightning_utilities.core.imports as asked
import xmtc.training.session
import torch, torchmetrics, xmtc.metrics.ranking
brought = [name for name in ("transformers", "matplotlib", "scipy.signal", "torchvision") if name in sys.modules]
mean = torchmetrics.MeanMetric()
mean.update(torch.tensor([1.0, 2.0]))
print(json.dumps({
    "waiting": waiting, "left": [type(finder) for finder in sys.meta_path].count(Lean), "brought": brought,
    "mean": float(mean.compute()), "seen": asked.package_available("matplotlib"), "version": asked._version("scipy"),
}))
"""


def test_a_command_has_lightning_without_its_luggage():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.pop("version")[0].isdigit()  # what others ask later is answered as ever
    seen = importlib.util.find_spec("matplotlib") is not None
    assert told == {"waiting": 1, "left": 0, "brought": [], "mean": 1.5, "seen": seen}


def test_where_torchmetrics_is_there_already_nothing_is_changed(monkeypatch):
    monkeypatch.setitem(sys.modules, lean.PACKAGE, SimpleNamespace())
    finders = list(sys.meta_path)
    lean.lean_imports()
    assert sys.meta_path == finders


def test_a_failing_import_hides_nothing_afterwards():
    from lightning_utilities.core import imports

    before = imports.find_spec, imports._version
    with pytest.raises(RuntimeError), lean.hidden():
        assert not imports.package_available("scipy") and imports.package_available("numpy")
        raise RuntimeError
    assert (imports.find_spec, imports._version) == before and imports.package_available("scipy")


def test_another_way_of_asking_is_left_alone(monkeypatch):
    from lightning_utilities.core import imports

    monkeypatch.delattr(imports, "_version")
    monkeypatch.delattr(imports, "find_spec")
    with lean.hidden():
        assert not hasattr(imports, "_version") and not hasattr(imports, "find_spec")
    monkeypatch.setitem(sys.modules, "lightning_utilities.core", SimpleNamespace())
    with lean.hidden():
        pass
