"""`init_from` with low-rank updates on either side, and from runs of another kind."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from xmtc.data.batch import Batch, Labels
from xmtc.encoders.transformer import Transformer
from xmtc.errors import InputError
from xmtc.heads.none import NoHead
from xmtc.testing.pretrained import tiny_bert, tiny_vocabulary
from xmtc.training.start_from import start_from

LABELS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def build(folder, tmp_path):
    def make(**settings):
        module = nn.Module()
        module.encoder = Transformer(tiny_vocabulary(folder), None, name=str(folder), offline=True, **settings).eval()
        module.decoder = module.encoder.make_decoder(len(LABELS))
        module.head = NoHead(len(LABELS))
        store = SimpleNamespace(labels=LABELS, vocabulary=None, folder=tmp_path / "store")
        return SimpleNamespace(module=module, store=store)

    return make


@pytest.fixture
def trained(build, tmp_path):
    """A run all of whose weights are others than those of the folder that it came from."""

    def make(**settings):
        built = build(**settings)
        with torch.no_grad():
            for parameter in built.module.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
        save(tmp_path / "run", built.module.state_dict())
        return built

    return make


def save(run, tensors):
    (run / "checkpoints").mkdir(parents=True)
    (run / "labels.tsv").write_text("".join(f"{i}\t{label}\tname\t3\n" for i, label in enumerate(LABELS)))
    torch.save({"state_dict": tensors}, run / "checkpoints" / "best.ckpt")


@torch.no_grad()
def answers(built):
    tokens = torch.tensor([[4, 5, 6, 7], [9, 8, 0, 0]])
    batch = Batch(torch.arange(2), Labels(torch.tensor([0, 1]), torch.arange(3)), tokens, torch.tensor([4, 2]))
    return built.module.decoder(built.module.encoder(batch))


@pytest.mark.parametrize("before, after", [(0, 2), (2, 0), (2, 2), (2, 3), (0, 0)])
def test_it_answers_as_the_run_that_it_starts_from(trained, build, tmp_path, before, after):
    """With low-rank updates, which start at nothing, on that side, on this one, on both, of another rank."""
    if before or after:
        pytest.importorskip("peft")
    theirs, ours = trained(lora=before), build(lora=after)
    start_from(tmp_path / "run", ours)
    torch.testing.assert_close(answers(ours), answers(theirs), rtol=1e-4, atol=1e-5)
    if before == after:
        torch.testing.assert_close(ours.module.state_dict(), theirs.module.state_dict(), rtol=0, atol=0)


def test_a_run_of_which_nothing_fits_is_refused(build, tmp_path):
    save(tmp_path / "run", {"values": torch.rand(7), "bias": torch.rand(3)})  # as linear SVMs leave
    ours = build()
    before = {name: value.clone() for name, value in ours.module.state_dict().items()}
    with pytest.raises(InputError, match="^init_from: nothing of .*run fits this model"):
        start_from(tmp_path / "run", ours)
    torch.testing.assert_close(ours.module.state_dict(), before, rtol=0, atol=0)


def test_a_run_of_another_encoder_is_told_of(trained, build, tmp_path, caplog):
    theirs, ours = trained(), build()
    start_from(tmp_path / "run", ours)
    assert "no weights of the encoder fit" not in caplog.text
    tensors = {name.replace("encoder.", "other."): value for name, value in theirs.module.state_dict().items()}
    save(tmp_path / "other", tensors)
    start_from(tmp_path / "other", ours)
    (line,) = [message for message in caplog.messages if "no weights of the encoder fit" in message]
    assert "\n" not in line
