"""One clear line and exit code 2; Ctrl-C is 130 and loses nothing."""

import os
import signal
import subprocess
import sys
import time

import pytest

import xmtc
from xmtc.errors import InputError


def refused(overrides, message):
    with pytest.raises(InputError, match=message) as error:
        xmtc.run(overrides)
    assert "\n" not in str(error.value)


def test_unknown_key_value_and_choice_name_the_key(small):
    refused([*small, "head.rnk=3"], "head.rnk")
    refused([*small, "head.rank=many"], "head.rank")
    refused([*small, "encoder=xmlcn"], "encoder=xmlcn.*xmlcnn")
    refused([*small, "recipe.objective.reduction=sum"], "reduction.*mean.*label_sum")


def test_options_of_the_trainer_that_cannot_be_used(small):
    small = [*small, "encoder=bow", "encoder.embedding.size=4", "head=none"]
    refused([*small, "trainer.max_epochs=-1"], "trainer.max_epochs.*at least 1")
    refused([*small, "trainer.max_steps=0"], "trainer.max_steps.*at least 1 or -1")
    refused([*small, "trainer.accumulate_grad_batches=0"], "accumulate_grad_batches")
    refused([*small, "+trainer.limit_test_batches=1"], "trainer.limit_test_batches.*data.limit")
    refused([*small, "+trainer.gradient_clip_val=1.0"], "recipe.clipping")
    refused([*small, "trainer.enable_checkpointing=false"], "^trainer: .*enable_checkpointing")
    refused([*small, "recipe.validation.interval=11", "data.batch_size=16"], "interval=11: an epoch has 10 steps")


def test_missing_folder(small, tmp_path):
    of_toy = [word for word in small if word.startswith("dataset")]
    rest = [word for word in small if word not in of_toy]
    refused(["dataset=folder", f"dataset.path={tmp_path / 'nowhere'}", *rest], "nowhere")


def test_divergence_names_the_step_and_the_remedy(small):
    refused(
        [*small, "encoder=bow", "head=none", "recipe.optimizer.lr=1e30", "recipe.max_epochs=20"],
        "step .*recipe.optimizer.lr",
    )


def test_absent_gpu(small):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    refused([*small, "trainer=gpu"], "trainer.accelerator=gpu.*trainer=cpu")


def command(python, *overrides):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [python, "-m", "xmtc.run", *overrides], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_command_line_error_is_one_line_and_exit_code_2(small):
    process = command(sys.executable, *small, "head.rnk=3")
    _, errors = process.communicate(timeout=280)
    assert process.returncode == 2
    assert len(errors.strip().splitlines()) == 1 and "head.rnk" in errors and "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_leaves_a_resumable_checkpoint(small, tmp_path, python, number, code):
    endless = ("recipe.max_epochs=100000", "recipe.validation.patience=null")
    process = command(python, *small, "encoder=bow", "head=none", "encoder.embedding.size=16", *endless)
    try:
        while not list(tmp_path.glob("runs/*/*/*/curves.csv")):
            assert process.poll() is None
            time.sleep(0.05)
        (folder,) = tmp_path.glob("runs/*/*/*")
        with pytest.raises(InputError, match="another run is at work"):
            xmtc.run([f"resume={folder}"])
        process.send_signal(number)
        _, errors = process.communicate()
    finally:
        process.kill()
    assert process.returncode == code
    how = "interrupted" if code == 130 else "stopped by SIGTERM"
    assert errors.splitlines()[-1] == f"xmtc.run: {how}; a run goes on with resume={folder}"
    assert not any(word in errors for word in ("Traceback", "Error executing job"))
    import torch

    step = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    again = xmtc.run([f"resume={folder}", f"recipe.max_epochs={step + 2}"])
    assert again["steps"] > step and again["provenance"]["resumed_from_step"] == [step]
