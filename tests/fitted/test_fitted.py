"""`br`, `cc` and `bonsai` against scikit-learn's own classes and by what they must find."""

import json

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

import xmtc
from xmtc.data.batch import Labels
from xmtc.data.collate import Documents
from xmtc.data.store import Part
from xmtc.data.text import Words
from xmtc.data.vocabulary import UNKNOWN, Vocabulary
from xmtc.errors import InputError
from xmtc.fitted import pairs
from xmtc.fitted.bonsai import Bonsai
from xmtc.fitted.br import BinaryRelevance, ClassifierChain
from xmtc.fitted.compiled import compiled
from xmtc.fitted.features import tfidf
from xmtc.fitted.solver import fit_block
from xmtc.training.fitted import targets

L = 6


@pytest.fixture(scope="module")
def corpus():
    """Word i < 5 calls for label i in most documents, and label 0 for label 4; label 5 is in no document."""
    random = np.random.default_rng(0)
    features = np.abs(random.normal(size=(120, 9))) * (random.random((120, 9)) < 0.5)
    targets = features[:, :L] > 0.4
    targets[:, 4] |= targets[:, 0]
    targets[:, 5] = False
    return csr_matrix(features.astype(np.float32)), csr_matrix(targets)


def test_tfidf_is_that_of_scikit_learn(bag_batch):
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["b c b d", "c", "d d d c", "e", ""]
    names = ["<pad>", "<unk>", "b", "c", "d", "e"]
    whole = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w", vocabulary=names[2:]).fit(texts[:4])
    counts = [{names.index(w): text.split().count(w) for w in sorted(set(text.split()))} for text in texts[:4]]
    bags = bag_batch([*counts, {1: 1}]).bags  # a document without known words is one unknown word
    vocabulary = Vocabulary(6, np.array([0, 1, 1, 3, 2, 1]), 4)
    found = tfidf(bags, vocabulary).toarray()
    np.testing.assert_allclose(found[:, 2:], whole.transform(texts).toarray(), rtol=1e-6)
    assert (found[:, :2] == 0).all()
    rare = tfidf(bags, vocabulary, min_documents=2).toarray()
    assert (rare[:, [2, 5]] == 0).all() and rare[1, 3] == pytest.approx(1) and (rare[3] == 0).all()


def documents_of(texts, names):
    """Documents of one word a letter."""
    ids = [
        [names.index(letter) if letter in names else UNKNOWN for letter in text.split()] or [UNKNOWN] for text in texts
    ]
    offsets = np.cumsum([0, *map(len, ids)])
    none = np.zeros(0, np.int32), np.zeros(len(texts) + 1, np.int64)
    return Documents(Part(np.array(sum(ids, []), np.int32), offsets, *none), Words(), "bag")


@pytest.mark.parametrize("block", [2, 4096])
@pytest.mark.parametrize("least", [1, 2, 9])
def test_pairs_of_words_are_those_of_scikit_learn(monkeypatch, block, least):
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

    monkeypatch.setattr(pairs, "BLOCK", block)
    names = ["<pad>", "<unk>", *"abcd"]
    fitted_to = ["a b a b", "b a b c", "", "c", "c d a b", "b a"]
    asked = [*fitted_to, "b a b a d d", "a x b", "d"]
    theirs = CountVectorizer(ngram_range=(2, 2), token_pattern=r"\w").fit(fitted_to)
    counts = theirs.transform(fitted_to)
    transformer = TfidfTransformer(norm=None, sublinear_tf=True).fit(counts)
    enough = np.asarray((counts > 0).sum(0))[0] >= least
    vocabulary = Vocabulary(6, np.array([0, 0, 5, 5, 3, 1]), len(fitted_to))
    found = pairs.Pairs.learn(documents_of(fitted_to, names), vocabulary, least)
    written = [f"{names[key // 6]} {names[key % 6]}" for key in found.keys]
    assert written == list(theirs.get_feature_names_out()[enough])
    again = pairs.Pairs.of(found.state())
    documents = documents_of(asked, names)
    weights = again.weights(*documents.tokens(np.arange(len(asked))), vocabulary).toarray()
    expected = transformer.transform(theirs.transform([*asked[:-2], "", "d"])).toarray()  # x is unknown: no pair
    np.testing.assert_allclose(weights, expected[:, enough], rtol=1e-6)


def test_words_and_pairs_are_of_length_1_together():
    names = ["<pad>", "<unk>", *"ab"]
    documents = documents_of(["a b", "a", "b b b", ""], names)
    vocabulary = Vocabulary(4, np.array([0, 0, 2, 2]), 4)
    model = BinaryRelevance(Words(), bigrams=True)
    model.learn_features(documents, vocabulary)
    found = model.features(documents, np.arange(4), vocabulary).toarray()
    assert found.shape == (4, 4 + 2)  # a b, b b
    np.testing.assert_allclose((found**2).sum(1), [1, 1, 1, 0], rtol=1e-6)
    once, often = 1 + np.log(5 / 2), 1 + np.log(5 / 3)  # idf of a pair of one document, of a word of two
    np.testing.assert_allclose(
        found[0, 2:5], np.array([often, often, once]) / np.sqrt(2 * often**2 + once**2), rtol=1e-6
    )
    assert found[2, 5] / found[2, 3] == pytest.approx(once * (1 + np.log(2)) / (often * (1 + np.log(3))))


def test_targets_leave_out_unseen_labels():
    gold = Labels(torch.tensor([0, 7, 1, 2, 9]), torch.tensor([0, 2, 2, 5]))
    assert targets(gold, 3).toarray().tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]


def test_binary_relevance_is_one_svm_a_label(corpus):
    from sklearn.svm import LinearSVC

    features, targets = corpus
    model = BinaryRelevance(Words(), tolerance=1e-6, prune=0.0, jobs=1)
    model.fit(features, targets)
    scores, labels = model.topk(features, L)
    margins = np.zeros(scores.shape)
    np.put_along_axis(margins, labels, scores, 1)
    for label in range(5):
        svm = LinearSVC(C=1.0, tol=1e-6, random_state=0).fit(features, targets.toarray()[:, label])
        np.testing.assert_allclose(margins[:, label], svm.decision_function(features), atol=1e-4)
    assert (margins[:, 5] == -1).all()  # nobody has it
    assert (np.diff(scores, axis=1) <= 0).all()
    assert model.topk(features[:0], 3)[0].shape == (0, 3)


def test_several_threads_fit_the_same(corpus):
    features, targets = corpus
    many = csr_matrix(np.tile(targets.toarray(), (1, 50)))  # 300 labels, five blocks
    alone, together = (BinaryRelevance(Words(), jobs=jobs) for jobs in (1, 2))
    for model in (alone, together):
        model.fit(features, many)
    assert all(torch.equal(a, b) for a, b in zip(alone.state().values(), together.state().values(), strict=True))


@pytest.mark.parametrize("c, tolerance", [(1.0, 0.1), (10.0, 1e-3)])
def test_the_solver_is_as_near_to_the_optimum_as_liblinear(corpus, c, tolerance):
    from sklearn.svm import LinearSVC

    features, targets = corpus
    has = targets.toarray()[:, :5]
    weights, bias = fit_block(features, has, c, tolerance)

    def cost(w, b, y):
        return 0.5 * (w @ w + b * b) + c * (np.maximum(0, 1 - y * (features @ w + b)) ** 2).sum()

    for label in range(5):
        y = np.where(has[:, label], 1, -1)
        theirs, best = (LinearSVC(C=c, tol=tol, random_state=0, max_iter=100_000).fit(features, y)
                        for tol in (tolerance, 1e-8))  # fmt: skip
        least = cost(best.coef_[0], best.intercept_[0], y)
        own = cost(weights[:, label].astype(np.float64), float(bias[label]), y)
        assert own - least <= max(2 * (cost(theirs.coef_[0], theirs.intercept_[0], y) - least), 1e-3 * least)


def test_documents_without_words(corpus):
    """Only the bias is left: the optimum of b^2 / 2 + 3 C (1 - b)^2 + C (1 + b)^2."""
    weights, bias = fit_block(csr_matrix((4, 7), dtype=np.float32), np.array([[1], [1], [1], [0]], bool), 1.0, 1e-6)
    assert (weights == 0).all() and bias[0] == pytest.approx(4 / 9, abs=1e-5)


def test_a_chain_is_that_of_scikit_learn(corpus):
    from sklearn.multioutput import ClassifierChain as Theirs
    from sklearn.svm import LinearSVC

    features, targets = corpus
    dense = targets.toarray().astype(int)
    order = np.argsort(-dense.sum(0), kind="stable")
    model = ClassifierChain(Words(), tolerance=1e-6, prune=0.0)
    model.fit(features, targets)
    usable = order[:5]  # scikit-learn refuses a label of no document
    theirs = Theirs(LinearSVC(C=1.0, tol=1e-6, random_state=0), order=list(range(5))).fit(features, dense[:, usable])
    scores, labels = model.topk(features, L)
    margins = np.zeros(scores.shape)
    np.put_along_axis(margins, labels, scores, 1)
    np.testing.assert_allclose(margins[:, usable], theirs.decision_function(features), atol=2e-3)
    plain = BinaryRelevance(Words(), tolerance=1e-6, prune=0.0, jobs=1)
    plain.fit(features, targets)
    assert not np.allclose(np.sort(plain.topk(features, L)[0], 1), np.sort(scores, 1), atol=1e-2)


@pytest.mark.parametrize("kind", [BinaryRelevance, ClassifierChain, Bonsai])
def test_state_and_back(corpus, kind):
    features, targets = corpus
    model, again = kind(Words()), kind(Words())
    model.fit(features, targets)
    again.load(model.state())
    for mine, theirs in zip(model.topk(features, 4), again.topk(features, 4), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert model.num_parameters() > 5


SMALL = [
    "dataset=toy",
    "dataset.source.train=150",
    "dataset.source.validation=40",
    "dataset.source.test=50",
    "logger=csv",
]


@pytest.mark.parametrize("encoder, bigrams", [("br", False), ("br", True), ("cc", True), ("bonsai", True)])
def test_the_whole_way(encoder, bigrams, tmp_path, caplog):
    own = {"br": ["encoder.jobs=1"], "cc": [], "bonsai": ["encoder.threads=1"]}[encoder]
    own += [f"encoder.bigrams={bigrams}", f"encoder.min_documents={1 + bigrams}"]
    folder = tmp_path / "run"
    overrides = [f"encoder={encoder}", "head=none", *own, *SMALL, f"paths.cache_dir={tmp_path}"]
    result = xmtc.run([*overrides, f"hydra.run.dir={folder}"])
    assert result == json.loads((folder / "metrics.json").read_text())
    assert result["test"]["P@1"] > result["floor"]["P@1"] and 0 < result["threshold"] < 1
    stored = np.load(folder / "predictions.npz")
    assert stored["labels"].shape == stored["scores"].shape == (50, 100)
    assert (folder / "curves.csv").read_text().count("\n") == 2
    model = xmtc.load(folder)
    from xmtc.config import compose_checked
    from xmtc.config.make import make

    source = make(dict(compose_checked(overrides).dataset.source))
    texts = [text for text, _ in source.documents("test")]
    scores, labels = model.predict_batch(texts, 5)
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), stored["scores"][:, :5], rtol=1e-5)
    assert np.array_equal(labels, stored["labels"][:, :5])
    answer = model.predict(["", texts[0]], k=3)
    assert len(answer) == 2 and len(answer[1].labels) == 3
    if encoder == "br":
        check_it_is_used_as_a_run(folder, model, texts, tmp_path)
        from xmtc.reporting.runs import read_run

        assert read_run(folder).encoder == "br" and read_run(folder).complete
        for wrong, line in [("head=lcenet", "takes head=none"), (f"init_from={folder}", "init_from")]:
            with pytest.raises(InputError, match=line):
                xmtc.run([*overrides, wrong, f"hydra.run.dir={tmp_path}/other"])
        assert "trainer.devices" not in caplog.text and "without effect" not in caplog.text
        idle = ["execution=chunked", "objective=focal", "recipe.max_epochs=3", "recipe.optimizer.lr=0.1"]
        words = ["trainer=ddp", "test=false", "recipe=labelcorank", "recipe.text_style=fast", *idle]
        xmtc.run([*overrides, *words, f"hydra.run.dir={tmp_path}/two"])
        assert "encoder=br is fitted in one process: trainer.devices is not used" in caplog.text
        assert f"encoder=br is fitted without gradients; without effect: {' '.join(idle)}" in caplog.messages


def check_it_is_used_as_a_run(folder, model, texts, place):
    """Alone and in an ensemble: served, fused, exported as far as it can be."""
    pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
    from xmtc.ensemble import ensemble
    from xmtc.explain import main as explain
    from xmtc.export import ExportSettings, export
    from xmtc.serving.answers import Answers
    from xmtc.serving.api import make_app
    from xmtc.serving.settings import Settings

    ensemble([folder, folder], place / "fused", "mean")
    ensemble([place / "fused", folder], place / "nested", "mean")
    for one in (model, xmtc.load(place / "fused"), xmtc.load(place / "nested")):
        assert one.predict(texts, k=1)[0].labels == model.predict(texts, k=1)[0].labels
        make_app(one, Settings())
        answers = Answers(one)
        (found,) = answers.work(("explain", False), texts[:1], 3)
        shown = answers.cut(found, 3)
        assert shown["head"] is False and {row["move"] for row in shown["enhanced"]} == {"same"}
        if one is model:
            why = answers.cut(answers.work(("explain", True), texts[:1], 3)[0], 3)["why"]
            assert [label["id"] for label in why] == [row["label"] for row in shown["enhanced"]]
            continue
        with pytest.raises(InputError, match="an ensemble has no parts of its own"):
            answers.work(("explain", True), texts[:1], 3)
    with pytest.MonkeyPatch.context() as patch:  # numba is for fitting alone: a server does without
        patch.setattr("xmtc.fitted.br.njit", None)
        assert xmtc.load(folder).predict(texts) == model.predict(texts)
        with pytest.raises(InputError, match="br and cc need numba"):
            model.fitted.check_can_fit()
    with pytest.raises(InputError, match="format=safetensors: expected a run with"):
        export(folder, ExportSettings("safetensors", str(place / "exported")))
    assert export(folder, ExportSettings("annif", str(place / "exported")))[1]["labels"] == model.num_labels
    assert explain([str(folder), "--text", texts[0], "-k", "2"]) == 0 and explain([str(folder), "--model"]) == 2
    check_what_labels_lean_on(model, texts)


def check_what_labels_lean_on(model, texts):
    """The parts add up to the logit, and a document of one word has no other part."""
    from xmtc.explaining.document import explain, markdown

    k = min(3, model.num_labels)
    for text in (*texts[:3], "", "nobodyhaswrittenthis"):
        scores, labels = model.predict_batch([text], k)
        found = explain(model, text, k)
        assert found["raw"] == found["enhanced"] == [model.labels[i].id for i in labels[0]] and not found["head"]
        for entry, logit in zip(found["labels"], scores[0], strict=True):
            words = entry["words"]
            assert entry["raw_logit"] == words["logit"] == pytest.approx(logit)
            assert words["error"] < 2e-5
            assert set(text.split()) >= {w for word, _ in words["words"] if "label " not in word for w in word.split()}
            assert text.split() or not words["words"]
        assert all(entry["name"] in markdown(found) for entry in found["labels"])
        assert "words" not in explain(model, text, k, words=False)["labels"][0]


def test_a_user_without_a_folder_for_compiled_code_compiles_for_each_process(monkeypatch):
    """Neither the package nor a home can be written, as for a service: importing the solver was a traceback."""
    caching = pytest.importorskip("numba.core.caching")

    for name, each in vars(caching).items():
        if name.endswith("CacheLocator"):
            monkeypatch.setattr(each, "from_function", classmethod(lambda cls, *given: None))
    assert compiled(lambda x: x + 1)(1) == 2
