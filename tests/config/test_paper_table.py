"""`recipe=paper` alone composes the papers' run for a pair: the settings of CorNet's and AttentionXML's code."""

import pytest
from omegaconf import OmegaConf

from xmtc.config import compose_checked

# batch, epochs, averaging starts, validation documents, R, blocks
DATASETS = {
    "eurlex": (40, 30, 10, 200, 1000, 2),
    "amazoncat13k": (200, 10, 2, 4000, 1000, 2),
    "wiki500k": (200, 15, 4, 4000, 100, 2),
}


def resolved(encoder, dataset, head):
    pair = [f"encoder={encoder}", f"dataset={dataset}", f"head={head}"]
    config = compose_checked([*pair, "recipe=paper", "logger=csv"])
    return OmegaConf.to_container(config, resolve=True)


@pytest.mark.parametrize("head", ["cornet", "lcenet"])
@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("encoder", ["xmlcnn", "bertxml", "meshprobenet", "attentionxml"])
def test_settings_of_a_pair(encoder, dataset, head):
    config = resolved(encoder, dataset, head)
    batch, epochs, start, held, rank, blocks = DATASETS[dataset]
    if (encoder, dataset) == ("bertxml", "wiki500k"):
        rank, blocks = 200, 1
    recipe = config["recipe"]
    assert (config["data"]["batch_size"], config["data"]["evaluation_batch_size"]) == (batch, batch)
    assert config["trainer"]["max_epochs"] == epochs
    assert recipe["averaging"]["start_epoch"] == start and recipe["averaging"]["every"] == 100
    assert config["data"]["validation_size"] == held
    assert (config["head"]["rank"], config["head"]["blocks"]) == (rank, blocks)
    assert config["trainer"]["val_check_interval"] == 100 and config["trainer"]["check_val_every_n_epoch"] is None
    assert recipe["validation"]["patience"] == 101 and recipe["objective"]["reduction"] == "mean"
    assert recipe["optimizer"]["lr"] == 1e-3 and recipe["optimizer"]["weight_decay"] == 0
    trained = dataset != "eurlex" or encoder == "bertxml"
    assert config["embedding"]["trainable"] is trained and config["embedding"]["_target_"].endswith("Glove")
    text = config["text"]
    assert (text["length"], text["fixed"], text["style"], text["vocabulary_size"]) == (500, True, "papers", 500_000)
    if encoder in ("bertxml", "meshprobenet"):
        assert config["encoder"]["bottleneck"] == (512 if dataset == "wiki500k" else None)
    if encoder == "attentionxml" and dataset != "wiki500k":
        expected = (256, [256]) if dataset == "eurlex" else (200, [100])
        assert (config["encoder"]["hidden"], config["encoder"]["mlp"]) == expected


def test_wiki10_31k_is_attentionxmls():
    """Its repository has settings for this data set: EUR-Lex's, but averaging starts at epoch 4; its loop bears 50
    evaluations without a gain, CorNet's 100."""
    config = resolved("attentionxml", "wiki10_31k", "none")
    recipe, encoder = config["recipe"], config["encoder"]
    assert (config["data"]["batch_size"], config["trainer"]["max_epochs"]) == (40, 30)
    assert (recipe["averaging"]["start_epoch"], config["data"]["validation_size"]) == (4, 200)
    assert recipe["validation"]["patience"] == 51
    assert (encoder["hidden"], encoder["layers"], encoder["mlp"], encoder["dropout"]) == (256, 1, [256], 0.5)
    assert encoder["embedding"]["trainable"] is False


def test_a_pair_without_a_head_has_no_settings_of_one():
    assert set(resolved("xmlcnn", "eurlex", "none")["head"]) == {"_target_"}


@pytest.mark.parametrize("recipe", ["modern", "paper"])
@pytest.mark.parametrize("embedding", ["random", "joint"])
def test_the_papers_freeze_glove_alone(embedding, recipe):
    """Random vectors that are not trained would teach nothing; MATCH trains those that it makes."""
    config = compose_checked(["encoder=xmlcnn", "dataset=eurlex", f"recipe={recipe}", f"embedding={embedding}"])
    assert OmegaConf.to_container(config["encoder"], resolve=False)["embedding"] == "${embedding}"
    assert config["encoder"]["embedding"]["trainable"] is True
