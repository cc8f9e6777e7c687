"""Architectures of the Hugging Face library under the pretrained encoders, against the library called text by text."""

import numpy as np
import pytest
import torch

from xmtc.data.batch import Batch, Labels
from xmtc.encoders.gudn import GUDN
from xmtc.encoders.labelcorank import LabelCoRank
from xmtc.encoders.laco import LACO
from xmtc.encoders.seqtag import SeqTag
from xmtc.encoders.transformer import Transformer
from xmtc.errors import InputError
from xmtc.testing.pretrained import tiny_bert, tiny_vocabulary

POSITIONS, n = 24, 5
SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": POSITIONS,
}  # fmt: skip
# RoBERTa's padding has id 1 and its positions start behind it; the others have their own names for everything
ROBERTA = {"max_position_embeddings": POSITIONS + 2, "pad_token_id": 1}
FAMILIES = {
    "roberta": ROBERTA | {"type_vocab_size": 1},
    "deberta": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "nomic_bert": {},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "electra": {"embedding_size": 8},
    "mobilebert": {"embedding_size": 8, "intra_bottleneck_size": 8, "true_hidden_size": 8},
    "rembert": {"input_embedding_size": 8},
    "mpnet": ROBERTA,
    "albert": {"embedding_size": 8},
    "big_bird": {"attention_type": "original_full"},
    "longformer": ROBERTA | {"attention_window": [4, 4], "type_vocab_size": 1},
    "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
}
NO_POOLER = {"deberta", "deberta-v2", "modernbert", "nomic_bert", "distilbert", "electra", "xlnet"}
TEXTS = [[7, 8, 9, 10, 11, 5, 6], [5], [12, 13, 7]]
ROWS = [[0, 2, 3], [1], [0, 1, 2, 3, 4]]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder and model of a family, in evaluation mode; all differ in their weights from what loading would draw."""
    made = {}
    tokenizer = tiny_bert(tmp_path_factory.mktemp("bert")) / "tokenizer.json"

    def model_of(family):
        from transformers import AutoConfig, AutoModel

        if family not in made:
            special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
            sizes = SIZES if family not in ("distilbert", "xlnet") else {}
            limit = {} if family == "xlnet" else {"max_position_embeddings": POSITIONS}
            settings = special | sizes | limit | FAMILIES[family]
            torch.manual_seed(5)
            model = AutoModel.from_config(AutoConfig.for_model(family, vocab_size=44, **settings)).eval()
            folder = tmp_path_factory.mktemp(family)
            model.save_pretrained(folder)
            (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
            made[family] = folder, model
        return made[family]

    return model_of


@pytest.fixture
def build(models):
    def make(kind, family, **settings):
        folder = models(family)[0]
        if kind in (LACO, SeqTag):
            settings = {"num_labels": n, "length": 20} | settings
        if kind is LabelCoRank:
            settings = {"num_labels": n, "gamma": 3, "heads": 4, "inner": 6} | settings
        torch.manual_seed(0)
        return kind(tiny_vocabulary(folder), None, name=str(folder), offline=True, **settings).eval()

    return make


def batch_of(texts=TEXTS, rows=ROWS):
    tokens = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    labels = Labels(torch.tensor(sum(rows, [])), torch.tensor(np.cumsum([0, *map(len, rows)])))
    return Batch(torch.arange(len(texts)), labels, tokens, torch.tensor([len(text) for text in texts]))


def seen_by_all(family, width):
    """Longformer's first position sees every other and is seen."""
    return {"global_attention_mask": (torch.arange(width) == 0).long()[None]} if family == "longformer" else {}


@torch.no_grad()
def hidden_of(models, family, text):
    """What the library answers to [CLS] text [SEP]: (T + 2, D)."""
    ids = torch.tensor([[2, *text, 3]])
    more = seen_by_all(family, ids.shape[1])
    return models(family)[1](input_ids=ids, attention_mask=torch.ones_like(ids), **more).last_hidden_state[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_is_read_as_the_library_reads_it(models, build, family):
    own = {} if family == "albert" else {"freeze": 1, "layer_decay": 0.5}
    model = build(Transformer, family, **own)
    assert model.window == (None if family == "xlnet" else POSITIONS - 2)
    assert len(model.backbone.frozen) >= (2 if own else 0)
    for row, text in zip(model(batch_of()).features, TEXTS, strict=True):
        torch.testing.assert_close(row, hidden_of(models, family, text).mean(0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_text_and_labels_are_read_as_the_library_reads_them(models, build, family):
    model, theirs = build(LACO, family), models(family)[1]
    table = theirs.get_input_embeddings().weight
    assert model.input.vectors.shape == (n, table.shape[1])
    with torch.no_grad():
        read = model.input(batch_of())
        for b, text in enumerate(TEXTS):
            vectors = torch.cat([table[[2, *text, 3]], model.input.vectors, table[[3]]])[None]
            more = seen_by_all(family, vectors.shape[1])
            if getattr(theirs.config, "type_vocab_size", 0) > 1:
                more["token_type_ids"] = torch.tensor([[0] * (len(text) + 2) + [1] * n + [0]])
            mask = torch.ones(vectors.shape[:2], dtype=torch.int64)
            hidden = theirs(inputs_embeds=vectors, attention_mask=mask, **more).last_hidden_state[0]
            start = len(text) + 2
            torch.testing.assert_close(read.labels[b], hidden[start : start + n], rtol=1e-3, atol=1e-4)
    model.label_names = True
    model.prepare(batch_of().labels, ["w3 w4", "w1", "", "w0", "w0"])
    torch.testing.assert_close(model.input.vectors[0], table[[7, 8]].mean(0))


def test_labels_beside_narrow_word_vectors_are_as_wide_as_hidden_states(build):
    model = build(LACO, "electra", joint=False)
    assert model.input.vectors.shape == (n, 16) and model(batch_of()).features.shape == (3, 16)
    model.label_names = True
    with pytest.raises(InputError, match="encoder.label_names: .* 8 numbers and its hidden states 16"):
        model.prepare(batch_of().labels, ["x"] * n)


@pytest.mark.parametrize("kind", [LACO, SeqTag, LabelCoRank])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_gets_a_gradient(build, family, kind):
    """Or several processes would wait for it. XLNet's segments and its vector of masked words are frozen."""
    model = build(kind, family).train()
    encoded = model(batch_of())
    loss = model.make_decoder(n)(encoded).square().sum() * encoded.main_weight + sum(encoded.auxiliary.values())
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    frozen = {name.rpartition(".")[2] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == ({"mask_emb", "seg_embed", "r_s_bias"} if family == "xlnet" else set())


@pytest.mark.parametrize("family", sorted(NO_POOLER))
def test_labelcorank_has_a_pooler_of_its_own_where_the_model_has_none(models, build, family):
    model = build(LabelCoRank, family, freeze="all", beta=0.5, lr_factor=0.05, dropout=0.0).double()
    first, pooler = model.first, model.backbone.pooler
    read = np.stack([hidden_of(models, family, text)[0].double().numpy() for text in TEXTS])
    target = np.array([[label in row for label in range(n)] for row in ROWS])

    def value(weight, bias):
        z = np.tanh(read @ weight.T + bias) @ first.weight.detach().numpy().T + first.bias.detach().numpy()
        return z, 0.5 * (np.log1p(np.exp(z)) - z * target).sum() / len(TEXTS)

    weight, bias = pooler.weight.detach().numpy().copy(), pooler.bias.detach().numpy().copy()
    found = model.propose(batch_of())[0].detach().numpy()
    np.testing.assert_allclose(found, value(weight, bias)[0], rtol=1e-4, atol=1e-5)
    model.train()(batch_of()).auxiliary["first"].backward()
    for array, found in [(weight, pooler.weight.grad), (bias, pooler.bias.grad)]:
        for place in [tuple(np.random.default_rng(i).integers(0, size) for size in array.shape) for i in range(4)]:
            start, values = array[place], []
            for step in (1e-6, -1e-6):
                array[place] = start + step
                values.append(value(weight, bias)[1])
            array[place] = start
            assert found[place].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-3, abs=1e-5)
    # the only part of the model that is trained, and at the rate of new layers
    trained = {name for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert trained == {"pooler.weight", "pooler.bias"}
    assert not set(model.backbone.learning_rate_factors()) & set(pooler.parameters())


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - NO_POOLER))
def test_a_models_own_pooler_is_used(models, build, family):
    ids = torch.tensor([[2, *TEXTS[0], 3]])
    model, more = build(Transformer, family, pooling="pooler"), seen_by_all(family, ids.shape[1])
    with torch.no_grad():
        expected = models(family)[1](input_ids=ids, attention_mask=torch.ones_like(ids), **more).pooler_output
        found = model(batch_of(TEXTS[:1], ROWS[:1])).features
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert model.backbone.pooler is None


def test_guidance_by_a_pooler_that_knows_nothing_is_refused(build):
    with pytest.raises(InputError, match="has no pooler.*encoder.guide=0"):
        build(GUDN, "distilbert", num_labels=n)


def test_what_a_family_lacks_is_one_line(build):
    for family in ("mpnet", "albert", "xlnet"):
        with pytest.raises(InputError, match="^encoder.checkpointing: .* does not support"):
            build(Transformer, family, checkpointing=True)
    for settings in ({"freeze": 1}, {"freeze": "embeddings"}, {"layer_decay": 0.5}):
        with pytest.raises(InputError, match="found no stack of 2 layers in a AlbertModel"):
            build(Transformer, "albert", **settings)
    frozen = build(Transformer, "albert", freeze="all")
    assert not any(p.requires_grad for p in frozen.parameters())


def test_relative_positions_are_embeddings_though_they_stand_behind_the_layers(build):
    model = build(Transformer, "deberta-v2", freeze="embeddings").backbone.model
    held = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert held == {name for name, _ in model.named_parameters() if "embeddings" in name}
    assert any("rel_embeddings" in name for name in held)
