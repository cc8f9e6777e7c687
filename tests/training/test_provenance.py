"""Where a number comes from: the device that computed it, also on a machine that has another."""

import pytest
import torch
from hydra.core.hydra_config import HydraConfig

from xmtc.config import compose_checked
from xmtc.training.provenance import command, device_name, provenance


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"card {torch.device(device).index}")


def test_what_a_processor_computed_does_not_name_the_gpu_beside_it(two_gpus):
    assert device_name("cpu").endswith(f", {torch.get_num_threads()} threads")
    born = provenance({"encoder": "br"})
    assert born["device"] == device_name("cpu") and born["encoder"] == "br"


def test_a_gpu_is_named_by_its_own_number(two_gpus):
    assert device_name("cuda:1") == device_name(torch.device("cuda", 1)) == "card 1"
    assert provenance({}, "cuda:0")["device"] == "card 0"


def test_other_devices_keep_their_names():
    assert device_name("mps") == "mps"


def test_the_command_names_a_folder_of_own_components_that_python_gave(tmp_path, monkeypatch):
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "mine.yaml").write_text("_target_: xmtc.heads.none.NoHead\n")
    config = compose_checked([f"hydra.searchpath=[{tmp_path}]", "head=mine"], hydra_node=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
    assert command() == f"python -m xmtc.run --config-dir {tmp_path} head=mine"
