"""conf/ as it is shipped: every choice can be composed, and every plain setting has a type."""

import os
import pwd
import shlex

import pytest
from omegaconf import OmegaConf

from xmtc.config import check_node, checked_command_line, compose_checked, config_dir
from xmtc.config.compose import compose_jobs
from xmtc.config.make import make
from xmtc.config.plain import TYPES, lookup
from xmtc.errors import InputError
from xmtc.job import composed, execute

# facts for interpolation, in a shape of their own
FREE = ("dataset.paper", "dataset.modern", "dataset.card", "recipe.encoders")


def names(group):
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


def plain(config):
    """The configuration resolved but for what only hydra.main knows."""
    held = {k: v for k, v in OmegaConf.to_container(config, resolve=False).items() if k != "logger"}
    config = OmegaConf.create(held)
    return OmegaConf.to_container(config, resolve=True)


def leaves(node, where=""):
    if where in FREE or (isinstance(node, dict) and "_target_" in node):
        return
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{where}.{key}" if where else key)
    elif node is not None:
        yield where


@pytest.mark.parametrize("recipe", ["modern", "paper"])
def test_an_objective_takes_the_place_of_the_recipes_and_keeps_its_reduction(recipe):
    usual = plain(compose_checked([f"recipe={recipe}"]))["recipe"]["objective"]
    found = {name: plain(compose_checked([f"recipe={recipe}", f"objective={name}"])) for name in names("objective")}
    kinds = {name: make(config["recipe"]["objective"]) for name, config in found.items()}
    assert {name: type(kind).__name__ for name, kind in kinds.items()} == {
        "bce": "Objective", "focal": "Focal", "asymmetric": "Asymmetric", "propensity": "PropensityWeighted"
    }  # fmt: skip
    assert {kind.reduction for kind in kinds.values()} == {usual["reduction"]}
    assert found["bce"]["recipe"]["objective"] == usual
    assert (kinds["propensity"].a, kinds["propensity"].b) == (0.55, 1.5)


@pytest.mark.parametrize("encoder", names("encoder"))
def test_resolved_in_place_as_hydras_cfg_job_resolve_does(encoder):
    config = compose_checked([f"encoder={encoder}", "logger=csv"])
    held = OmegaConf.create({k: v for k, v in OmegaConf.to_container(config).items() if k != "logger"})
    OmegaConf.resolve(held)
    assert OmegaConf.to_container(held) == plain(config)


@pytest.mark.parametrize("encoder", names("encoder"))
def test_every_head_and_recipe_of_an_encoder(encoder):
    """What depends on encoder, head and recipe together stands in the modern recipe alone, which has all heads here;
    of the other recipes one head tells."""
    heads, recipes = names("head"), [name for name in names("recipe") if name != "modern"]
    assert len(compose_jobs([f"encoder={encoder}", f"head={','.join(heads)}"])) == len(heads)
    assert len(compose_jobs([f"encoder={encoder}", f"recipe={','.join(recipes)}"])) == len(recipes)
    for name in recipes:
        assert "heads" not in (config_dir() / "recipe" / f"{name}.yaml").read_text()


def test_every_recipe_with_every_head():
    jobs = compose_jobs([f"{group}={','.join(names(group))}" for group in ("recipe", "head")])
    assert len(jobs) == len(names("recipe")) * len(names("head"))


@pytest.mark.parametrize("group", ["trainer", "logger", "debug", "execution", "embedding"])
def test_every_other_choice(group):
    for name in names(group):
        try:
            compose_checked([f"{group}={name}"])
        except InputError as error:  # a choice may ask for something that only its user knows
            assert "must be given" in str(error)


@pytest.mark.parametrize("dataset", names("dataset"))
def test_every_dataset_composes_or_names_what_is_missing(dataset):
    try:
        compose_checked([f"dataset={dataset}"])
    except InputError as error:
        assert "must be given" in str(error)


def test_every_plain_setting_has_a_type():
    config = plain(compose_checked([]))
    assert sorted(set(leaves(config)) - set(TYPES)) == []
    assert sorted(key for key in TYPES if not lookup(config, key)[0]) == []


@pytest.mark.parametrize(
    "override, line",
    [
        ("seed=abc", "seed: expected a whole number of at least 0 and up to 4294967295, got the text abc"),
        ("seed=-1", "seed: expected a whole number of at least 0 and up to 4294967295, got the number -1"),
        ("seed=4294967296", "seed: expected a whole number of at least 0 and up to 4294967295, got the number"),
        ("recipe.optimizer=null", "recipe.optimizer: expected a component with a _target_, got null"),
        ("recipe.schedule=constant", "recipe.schedule: expected a component with a _target_, got the text constant"),
        ("dataset.source=null", "dataset.source: expected a component with a _target_, got null"),
        ("dataset.propensity=null", "dataset.propensity: expected settings such as a, got null"),
        ("checkpoints=null", "checkpoints: expected settings such as minutes, got null"),
        ("+recipe.max_epoch=3", "recipe.max_epoch: unknown key; did you mean max_epochs?"),
        ("+data.batchsize=3", "data.batchsize: unknown key; did you mean batch_size?"),
        ("~recipe.prior_bias", "recipe.prior_bias: must be given, for example recipe.prior_bias=..."),
        ("head=null", "head=null: unknown choice; choose from centred, cooccurrence, cornet, lcenet, none"),
        ("data.limit=${head}", "data.limit: expected a whole number of at least 1 or null, got the mapping"),
        ("dry_run=3", "dry_run: expected true or false"),
        ("data.batch_size=0", "data.batch_size: expected a whole number of at least 1"),
        ("data.fraction=2", "data.fraction: expected a number above 0 and up to 1, got the number 2"),
        ("ranks.patience=0", "ranks.patience: expected a number above 0"),
        ("dataset.propensity.b=0", "dataset.propensity.b: expected a number above 0"),
        ("recipe.validation.interval=0", "recipe.validation.interval: expected a number above 0 or null"),
        ("recipe.optimizer.lr=-1", "recipe.optimizer.lr: expected a number of at least 0, got the number -1"),
        ("recipe.optimizer.lr=nan", "recipe.optimizer.lr: expected a number of at least 0, got the number nan"),
        (
            "recipe.optimizer.betas=[0.9,1]",
            "betas: expected a list of a number of at least 0 and below 1",
        ),
        ("embedding.size=0", "embedding.size: expected a whole number of at least 1"),
        ("encoder.dropout=1", "encoder.dropout: expected a number of at least 0 and below 1, got the number 1"),
        ("encoder.widths=[0,2]", "encoder.widths: expected a list of a whole number of at least 1"),
        ("head.blocks=0", "head.blocks: expected a whole number of at least 1"),
        ("paths.cache_dir=", "paths.cache_dir: expected a folder, got an empty name"),
        ("recipe.max_epochs=two", "recipe.max_epochs: expected a whole number"),
        ("head.entry=foo", "head.entry: expected one of"),
        ("head.rnk=3", "did you mean rank?"),
        ("encoder=xmlcn", "did you mean xmlcnn?"),
        ("trainer.max_epoch=3", "did you mean max_epochs?"),
    ],
)
def test_what_cannot_be_used(override, line):
    with pytest.raises(InputError) as error:
        compose_checked([override])
    assert line in str(error.value) and "\n" not in str(error.value)


def test_the_cache_of_a_user_without_HOME(monkeypatch):
    """As a service has none: the environment's folder, that of the system's list of users, or a line."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("XMTC_CACHE", "/some/where")
    assert compose_checked([]).paths.cache_dir == "/some/where"
    monkeypatch.delenv("XMTC_CACHE")
    assert compose_checked([]).paths.cache_dir == f"{pwd.getpwuid(os.getuid()).pw_dir}/.cache/xmtc"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user who is not in that list
    with pytest.raises(InputError, match="^paths.cache_dir: this user has no home folder; set it, or"):
        compose_checked([])
    assert compose_checked(["paths.cache_dir=here"]).paths.cache_dir == "here"


@pytest.mark.parametrize("group", ["encoder", "head", "embedding"])
def test_sizes_and_dropouts_have_bounds(group):
    """Every whole number of 1 or more that a component comes with is refused as -1, every dropout as 2."""
    for name in names(group):
        words = [f"{group}={name}", *(["embedding.path=x"] if name == "vectors" else [])]
        node = plain(compose_checked(words))[group]
        for key, value in node.items():
            wrong = -1 if type(value) is int and value >= 1 else 2 if "dropout" in key else None
            if wrong is not None:
                with pytest.raises(InputError, match=f"{group}.{key}: expected"):
                    check_node(node | {key: wrong}, group)


def test_a_logger_that_was_typed_wins_over_debug():
    assert not compose_checked(["debug=fast"]).logger
    for words in (["debug=fast", "logger=wandb"], ["logger=wandb", "debug=fast"]):
        assert compose_checked(words).logger.project == "xmtc"


def test_wandb_groups_the_jobs_of_any_sweep(tmp_path, monkeypatch):
    """Hydra's own launcher runs them in one process, ours says its name to the processes of its jobs."""
    monkeypatch.delenv("XMTC_SWEEP", raising=False)
    seen = []

    def groups(*words):
        with checked_command_line([f"paths.runs={tmp_path}/runs", "logger=wandb", *words]) as line:
            line.run(lambda config: seen.append(config.logger.group))
        return [seen.pop() for _ in list(seen)]

    assert groups("-m", "seed=0,1", f"hydra.sweep.dir={tmp_path}/tables/five") == ["tables/five"] * 2
    (own,) = set(groups("-m", "seed=0,1"))
    assert own.startswith("multirun/2") and (tmp_path / "runs" / own).is_dir()
    assert groups(f"hydra.run.dir={tmp_path}/run") == [None]
    monkeypatch.setenv("XMTC_SWEEP", "of a launcher")
    assert groups(f"hydra.run.dir={tmp_path}/run") == ["of a launcher"]


@pytest.mark.parametrize(
    ("encoder", "word", "because"),
    [
        ("bow", "embedding=word2vec", "encoder=bow has encoder.embedding of its own"),
        ("transformer_scratch", "embedding.size=50", "encoder=transformer_scratch has encoder.embedding of its own"),
        ("transformer", "text.length=9", "encoder=transformer has encoder.text of its own"),
        ("br", "embedding.size=50", "encoder=br reads no embedding"),
        ("xmlcnn", "embedding=word2vec", None),
        ("br", "text.style=papers", None),
        ("bow", "embedding=word2vec 'encoder.embedding=${embedding}'", None),
    ],
)
def test_words_and_vectors_that_the_encoder_does_not_read_are_named(encoder, word, because, caplog, capsys):
    words = shlex.split(f"encoder={encoder} head=none seed=0 dry_run=true {word}")
    execute(*composed(words))
    assert "_target_" in capsys.readouterr().out
    assert caplog.messages == ([f"{word}: without effect, {because}"] if because else [])
