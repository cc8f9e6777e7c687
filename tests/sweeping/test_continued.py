"""resume=RUN_DIR with several processes: each rank that Lightning starts gets the first one's command line again."""

import pytest

from xmtc.errors import InputError
from xmtc.job import continued


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "overrides.yaml").write_text("- encoder=bow\n- trainer=ddp\n- trainer.devices=2\n")
    return tmp_path


def test_a_further_rank_continues_the_same_run(folder):
    first = continued([f"resume={folder}", "trainer.max_epochs=9"])
    added = [f'hydra.run.dir="{folder}"', "hydra.job.name=train_ddp_process_1", "hydra.output_subdir=null"]
    further = continued([*first, *added])
    assert sorted(further) == sorted([*first, *added[1:]])


def test_other_settings_are_still_refused(folder):
    with pytest.raises(InputError, match="encoder=xmlcnn"):
        continued([f"resume={folder}", "encoder=xmlcnn"])


def test_a_folder_of_own_components_may_be_said_again(tmp_path):
    """It is no override, so the run has not written it among those."""
    (tmp_path / "overrides.yaml").write_text("- head=gate\n")
    words = continued(["--config-dir", "my_conf", f"resume={tmp_path}"])
    assert words[:3] == ["head=gate", "--config-dir", "my_conf"]
    own = "hydra.searchpath=[my_conf]"  # as from Python
    assert continued([own, f"resume={tmp_path}"])[:2] == ["head=gate", own]
    with pytest.raises(InputError, match="^encoder=xmlcnn: cannot change"):
        continued(["--config-dir", "my_conf", f"resume={tmp_path}", "encoder=xmlcnn"])
