"""`init_from`: rows of labels and words are found by name, whatever their order in the other run."""

import functools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from xmtc.data.embedding import Random
from xmtc.data.vocabulary import Vocabulary
from xmtc.encoders.bertxml import BertXML
from xmtc.encoders.bow import BagOfWords
from xmtc.encoders.leam import LEAM
from xmtc.encoders.sgm import SGM
from xmtc.encoders.xmlcnn import XMLCNN
from xmtc.errors import InputError
from xmtc.heads.cornet import CorNet
from xmtc.heads.lcenet import LCENet
from xmtc.heads.none import NoHead
from xmtc.training.start_from import start_from

THEIR_LABELS, OUR_LABELS = ["a", "b", "c", "d"], ["c", "new", "a", "d", "b"]
THEIR_WORDS = ["<pad>", "<unk>", "tax", "law", "fish", "rare"]
OUR_WORDS = ["<pad>", "<unk>", "fish", "tax", "unheard", "law", "rare"]


def build(folder, labels, words, head=None, encoder=XMLCNN, frequency=5, **settings):
    (folder / "text").mkdir(parents=True, exist_ok=True)
    (folder / "text" / "vocabulary.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    (folder / "labels.tsv").write_text("".join(f"{i}\t{label}\tname\t3\n" for i, label in enumerate(labels)))
    counts = torch.full((len(words),), frequency).numpy()
    counts[-1] = 1  # the last word is rare
    vocabulary = Vocabulary(len(words), counts, 10, folder / "text")
    module = nn.Module()
    module.encoder = encoder(vocabulary, None, Random(3), **settings)
    module.decoder = module.encoder.make_decoder(len(labels))
    module.head = NoHead(len(labels)) if head is None else head(len(labels))
    store = SimpleNamespace(labels=labels, vocabulary=vocabulary, folder=folder)
    return SimpleNamespace(module=module, store=store)


def save(folder, built):
    (folder / "checkpoints").mkdir()
    torch.save({"state_dict": built.module.state_dict()}, folder / "checkpoints" / "best.ckpt")


def state(built):
    return {name: value.clone() for name, value in built.module.state_dict().items()}


def start(tmp_path, their_labels=THEIR_LABELS, our_labels=OUR_LABELS, heads=(None, None), **settings):
    """Their state, ours before, ours after."""
    theirs = build(tmp_path / "theirs", their_labels, THEIR_WORDS, heads[0], **settings)
    save(tmp_path / "theirs", theirs)
    ours = build(tmp_path / "ours", our_labels, OUR_WORDS, heads[1], **settings)
    before = state(ours)
    start_from(tmp_path / "theirs", ours)
    return state(theirs), before, state(ours)


CNN = {"filters": 2, "bottleneck": 4}
TRANSFORMER = {"heads": 1, "feedforward": 4, "cls": 2}


def cornet(num_labels):
    return CorNet(num_labels, rank=3, blocks=2)


def full(num_labels):
    return LCENet(num_labels, blocks=1, bottleneck=False)


def test_label_rows_follow_their_names_and_new_labels_stay_as_made(tmp_path):
    theirs, before, after = start(tmp_path, heads=(cornet, cornet), **CNN)
    names = ["decoder.weight", "decoder.bias"] + [
        f"head.blocks.{i}.{name}" for i in (0, 1) for name in ("gather_weight", "spread_weight", "spread_bias")
    ]
    for name in names:
        for row, label in enumerate(OUR_LABELS):
            source = theirs[name][THEIR_LABELS.index(label)] if label in THEIR_LABELS else before[name][row]
            assert torch.equal(after[name][row], source), (name, label)
    assert torch.equal(after["head.blocks.1.gather_bias"], theirs["head.blocks.1.gather_bias"])


@pytest.mark.parametrize("ours", [OUR_LABELS, ["d", "a", "c", "b"]])
def test_label_by_label_matrices_follow_in_rows_and_columns(tmp_path, ours):
    theirs, before, after = start(tmp_path, our_labels=ours, heads=(full, full), **CNN)
    for i, a in enumerate(ours):
        for j, b in enumerate(ours):
            known = a in THEIR_LABELS and b in THEIR_LABELS
            source = theirs if known else before
            place = (THEIR_LABELS.index(a), THEIR_LABELS.index(b)) if known else (i, j)
            assert after["head.blocks.0.weight"][i, j] == source["head.blocks.0.weight"][place]


@pytest.mark.parametrize(
    ("encoder", "settings", "known"),
    [
        (XMLCNN, CNN, OUR_WORDS),
        (BagOfWords, {"min_documents": 2}, OUR_WORDS[:-1]),
        (BagOfWords, {"min_documents": 1}, OUR_WORDS),
    ],
)
def test_word_rows_follow_their_words_also_in_tables_without_rare_ones(tmp_path, encoder, settings, known):
    theirs, before, after = start(tmp_path, encoder=encoder, **settings)
    table = after["encoder.embedding.weight"]
    assert len(table) == len(known)
    for row, word in enumerate(known):
        source = theirs["encoder.embedding.weight"][THEIR_WORDS.index(word)] if word in THEIR_WORDS else None
        expected = before["encoder.embedding.weight"][row] if source is None else source
        assert torch.equal(table[row], expected), word
    for name in after:
        if name not in ("encoder.embedding.weight", "decoder.weight", "decoder.bias"):
            assert torch.equal(after[name], theirs[name]), name


@pytest.mark.parametrize("ours", [OUR_WORDS, [*THEIR_WORDS[:2], "rare", "fish", "unheard", "tax"]])
def test_a_table_with_further_rows_behind_the_words_goes_by_word_too(tmp_path, ours):
    """BertXML's CLS are such rows. The second vocabulary is as large as theirs: rows in place are other words."""
    theirs = build(tmp_path / "theirs", THEIR_LABELS, THEIR_WORDS, encoder=BertXML, **TRANSFORMER)
    save(tmp_path / "theirs", theirs)
    built = build(tmp_path / "ours", THEIR_LABELS, ours, encoder=BertXML, **TRANSFORMER)
    before = state(built)["encoder.embedding.weight"]
    start_from(tmp_path / "theirs", built)
    given, table = state(theirs)["encoder.embedding.weight"], state(built)["encoder.embedding.weight"]
    for row, word in enumerate(ours):
        assert torch.equal(table[row], given[THEIR_WORDS.index(word)] if word in THEIR_WORDS else before[row]), word
    assert torch.equal(table[len(ours) :], given[len(THEIR_WORDS) :])


def test_a_head_the_other_run_had_not_or_of_another_size_stays_as_made(tmp_path, caplog):
    _, before, after = start(tmp_path, heads=(None, cornet), **CNN)
    assert all(torch.equal(after[name], before[name]) for name in after if name.startswith("head."))
    with caplog.at_level("INFO"):
        start(tmp_path / "sizes", heads=(lambda n: CorNet(n, rank=2), cornet), **CNN)
    assert "4 labels matched" in caplog.text and "head.blocks.0.gather_weight" in caplog.text


def test_the_other_run_is_not_changed_and_equal_runs_copy_all(tmp_path):
    theirs = build(tmp_path / "theirs", THEIR_LABELS, THEIR_WORDS, cornet, **CNN)
    save(tmp_path / "theirs", theirs)
    ours = build(tmp_path / "ours", THEIR_LABELS, THEIR_WORDS, cornet, **CNN)
    start_from(tmp_path / "theirs", ours)
    torch.testing.assert_close(state(ours), state(theirs), rtol=0, atol=0)


def test_nothing_to_start_from_is_an_error(tmp_path):
    ours = build(tmp_path / "ours", OUR_LABELS, OUR_WORDS, **CNN)
    with pytest.raises(InputError, match="init_from.*no checkpoints/best.ckpt"):
        start_from(tmp_path / "nowhere", ours)
    with pytest.raises(InputError, match="no label in common"):
        start(tmp_path, their_labels=["x", "y"], **CNN)
    with pytest.raises(InputError, match="no word in common"):
        theirs = build(tmp_path / "words", THEIR_LABELS, ["x", "y"], **CNN)
        save(tmp_path / "words", theirs)
        start_from(tmp_path / "words", ours)


@pytest.mark.parametrize(
    "make, names",
    [
        (
            functools.partial(LEAM, label_names=False, hidden=4, ngram=3),
            ("labels", "bias", "classifier.3.weight", "classifier.3.bias"),
        ),
        (
            functools.partial(SGM, hidden=4, label_size=3, layers=1),
            ("decoder.labels.weight", "decoder.output.weight", "decoder.output.bias"),
        ),
    ],
)
def test_an_encoders_own_label_rows_go_by_name(tmp_path, make, names):
    theirs = build(tmp_path / "theirs", THEIR_LABELS, THEIR_WORDS, encoder=make, num_labels=4)
    save(tmp_path / "theirs", theirs)
    ours = build(tmp_path / "ours", OUR_LABELS, OUR_WORDS, encoder=make, num_labels=5)
    before = state(ours)
    start_from(tmp_path / "theirs", ours)
    after, other = state(ours), state(theirs)
    for name in names:
        mine, old, given = (held[f"encoder.{name}"] for held in (after, before, other))
        for i, label in enumerate(OUR_LABELS):
            assert torch.equal(mine[i], given[THEIR_LABELS.index(label)] if label in THEIR_LABELS else old[i])


def test_what_an_encoder_counted_in_its_own_corpus_stays(tmp_path):
    theirs = build(tmp_path / "theirs", OUR_LABELS, THEIR_WORDS, **CNN)
    ours = build(tmp_path / "ours", OUR_LABELS, OUR_WORDS, **CNN)
    for built, value in ((theirs, 1.0), (ours, 2.0)):
        built.module.encoder.of_corpus = ("counted",)
        built.module.encoder.register_buffer("counted", torch.full((5,), value))
    save(tmp_path / "theirs", theirs)
    start_from(tmp_path / "theirs", ours)
    assert (ours.module.encoder.counted == 2).all()
