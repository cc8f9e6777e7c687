"""What is put together for a training, and what is refused before a document is read."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from xmtc.config import compose_checked
from xmtc.errors import InputError
from xmtc.heads.block import CorrelationHead
from xmtc.training import build as room


@pytest.mark.parametrize("encoder", ["sgm", "seqtag"])
@pytest.mark.parametrize("head", ["none", "lcenet", "cornet"])
@pytest.mark.parametrize("weight", ["0", "0.1"])
def test_a_head_that_nothing_would_train_is_refused(monkeypatch, encoder, head, weight):
    """Both encoders have losses of their own and give the logits none unless asked."""

    class GoesOn(Exception):
        pass

    def opened(*_):
        raise GoesOn

    monkeypatch.setattr(room, "open_store", opened)
    words = ["dataset=toy", f"encoder={encoder}", f"head={head}", f"encoder.logit_loss={weight}"]
    composed = compose_checked(words)
    keys = [key for key in composed if key not in ("logger", "hydra")]
    config = OmegaConf.to_container(OmegaConf.masked_copy(composed, keys), resolve=True)
    refused = head != "none" and weight == "0"
    with pytest.raises(InputError if refused else GoesOn, match="or take head=none" if refused else None):
        room.build(config)


class Forward(CorrelationHead):
    """A head that is no stack of blocks."""

    def __init__(self, num_labels: int):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(num_labels))

    def forward(self, logits_BL):
        return self.factor * logits_BL


def test_a_head_of_which_nothing_would_run_is_refused(tmp_path):
    words = [
        "dataset=toy",
        "encoder=bow",
        "debug=fast",
        f"paths.cache_dir={tmp_path}",
        f"head._target_={__name__}.Forward",
    ]
    composed = compose_checked(
        [*words, *(f"~head.{key}" for key in compose_checked(words[:1])["head"] if key[0] != "_")]
    )
    keys = [key for key in composed if key not in ("logger", "hydra")]
    config = OmegaConf.to_container(OmegaConf.masked_copy(composed, keys), resolve=True)
    with pytest.raises(InputError, match="^head: Forward has a forward but no blocks"):
        room.build(config)
