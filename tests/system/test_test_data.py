"""Nothing is chosen on test data: with other test documents and labels, everything else of a run is the same."""

import json
import shutil

import numpy as np

import xmtc
from tests.system.contents import contents, difference
from xmtc.data.checksums import list_files

OPTIONS = ("head=lcenet", "head.rank=4", "encoder=bow", "encoder.embedding.size=16", "recipe.max_epochs=3")


def test_a_run_does_not_depend_on_its_test_part(train, cache, tmp_path):
    result, folder = train(*OPTIONS)
    other = tmp_path / "cache"
    shutil.copytree(cache, other)
    changed = 0
    for part in other.glob("*/test"):
        for name in ("tokens.npy", "label_ids.npy"):
            array = np.load(part / name)
            np.save(part / name, np.roll(array, 7))
            list_files(part.parent, [f"test/{name}"])  # changed on purpose
            changed += 1
    assert changed
    again = tmp_path / "again"
    from tests.system.conftest import SMALL

    spoilt = xmtc.run([*SMALL, f"paths.cache_dir={other}", *OPTIONS, f"hydra.run.dir={again}"])
    assert spoilt["test"] != result["test"]
    for key in ("validation", "best", "threshold", "steps"):
        assert spoilt[key] == result[key]
    ours, theirs = contents(again), contents(folder)
    assert ours.pop("predictions.npz") != theirs.pop("predictions.npz")
    assert difference(ours, theirs) == ""


def test_without_test_the_part_is_not_even_read(train, cache, tmp_path):
    other = tmp_path / "cache"
    shutil.copytree(cache, other)
    for path in other.glob("*/test/*.npy"):
        array = np.load(path)
        if "offsets" not in path.name:
            np.save(path, np.full_like(array, np.iinfo(array.dtype).max))  # reading such an id fails
    _, folder = train(*OPTIONS, "test=false", f"paths.cache_dir={other}")
    assert json.loads((folder / "metrics.json").read_text())["test"] is None
    assert not (folder / "predictions.npz").exists()
