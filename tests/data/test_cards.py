"""Every registered dataset: its card holds, it downloads from a server, is read, verified, prepared and trained on."""

import json
import tarfile
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from omegaconf import OmegaConf

import xmtc
from xmtc.config import config_dir, register_resolvers
from xmtc.data import __main__ as command
from xmtc.data.acquire import IN_A_BROWSER, acquire, corpus_of
from xmtc.data.cards import Card, card_of, read_card, registered
from xmtc.data.preparation import prepare
from xmtc.data.sources.corpus import LAYOUTS, CorpusSource
from xmtc.data.text import Words
from xmtc.data.verify import verify
from xmtc.errors import InputError
from xmtc.testing.formats import numbered_documents, write_corpus
from xmtc.testing.server import serving, status
from xmtc.training.build import make, open_store

CARDS = registered()
PARTS = {
    "train": numbered_documents(60, 0),
    "validation": numbered_documents(9, 1),
    "test": numbered_documents(11, 2, labels=14),
}
ASKED_FOR = """eurlex eurlex4k wiki10_31k amazoncat13k amazon670k wiki500k amazon3m eurlex57k aapd rcv1 magcs pubmed
    reuters yso arxiv""".split()
PROGRAM = [name for name, card in CARDS.items() if any(urlsplit(o.url).hostname not in IN_A_BROWSER
                                                       for o in card.places())]  # fmt: skip


def dataset(name, tmp_path):
    """The dataset's node, resolved, without the cost of composing a whole configuration."""
    register_resolvers()
    node = OmegaConf.merge(
        *map(OmegaConf.load, (config_dir() / "subset.yaml", config_dir() / "dataset" / f"{name}.yaml"))
    )
    config = OmegaConf.create({"dataset": node, "paths": {"data_dir": str(tmp_path)}})
    return OmegaConf.to_container(config.dataset, resolve=True)


def opened(name, tmp_path):
    """(corpus, card)."""
    node = dataset(name, tmp_path)
    return corpus_of(make(node["source"])), card_of(node)


def pack(source: Path, archive: Path, inside: str) -> bytes:
    """`source` under the folder `inside` of a zip or tar.gz, beside a read-me and an empty folder."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in source.rglob("*"):
                file.write(path, f"{inside}/{path.relative_to(source)}")
            file.writestr("README", "hello")
    else:
        with tarfile.open(archive, "w:gz") as file:
            file.add(source, inside)
            file.add(__file__, "README")
    return archive.read_bytes()


@pytest.fixture
def elsewhere(monkeypatch):
    """A server in the place of every origin of every card."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    places = Card.places

    def local(self):
        found = []
        for origin in places(self):
            if urlsplit(origin.url).hostname not in IN_A_BROWSER:
                also = [server.url + urlsplit(url).path for url in origin.also]
                origin = type(origin)(**{**vars(origin), "url": server.url + urlsplit(origin.url).path, "also": also})
            found.append(origin)
        return found

    monkeypatch.setattr(Card, "places", local)
    with serving() as server:
        yield server


def test_all_that_were_asked_for_are_registered():
    assert set(ASKED_FOR) <= set(CARDS)
    assert (CARDS["eurlex"].labels, CARDS["eurlex4k"].labels) == (3956, 3993)


@pytest.mark.parametrize("name", CARDS)
def test_cards_compose_and_agree_with_themselves(name, tmp_path):
    node = dataset(name, tmp_path)
    card, corpus = card_of(node), corpus_of(make(node["source"]))
    assert corpus.name == name == node["name"] and corpus.path.parent == tmp_path
    assert set(card.documents) == {"train", "validation", "test"} and card.documents["train"] > 0
    assert all(origin.layout in corpus.layouts for origin in card.places())
    assert all(len(value) == 64 for value in card.files.values())
    assert card.origins or card.obtain, "nothing says how to get it"
    assert all(origin.url.startswith(("https://", "http://")) for origin in card.places())
    constants = {"wiki500k": (0.5, 0.4), "amazon670k": (0.6, 2.6), "amazon3m": (0.6, 2.6)}
    assert tuple(node["propensity"].values()) == constants.get(name, (0.55, 1.5))


@pytest.mark.parametrize("name", PROGRAM)
def test_download_verify_and_prepare(name, tmp_path, elsewhere):
    corpus, card = opened(name, tmp_path / "data")
    origin = CARDS[name].places()[0]
    _hand_out(elsewhere, origin, tmp_path)
    assert acquire(corpus, card, timeout=5) == corpus.path and corpus.layout() == origin.layout
    assert [p.name for p in (tmp_path / "data").iterdir()] == [corpus.path.name]
    asked = len(elsewhere.requests)
    found = {finding.what: finding for finding in verify(corpus, card)}
    expected = card.documents["train"]
    assert vars(found["train documents"]) == {
        "what": "train documents", "found": 60, "agrees": False, "expected": expected
    }  # fmt: skip
    store = prepare(corpus, name, Words(), tmp_path / "cache", 1)
    assert len(store.parts["train"]) == 60 and len(store.parts["test"]) == 11
    assert acquire(corpus, card) == corpus.path and len(elsewhere.requests) == asked


def _hand_out(server, origin, tmp_path):
    """A small corpus in the origin's layout, where the origin is."""
    write_corpus(tmp_path / "theirs", origin.layout, PARTS)
    path = urlsplit(origin.url).path
    server.files[path] = pack(tmp_path / "theirs", tmp_path / f"x{Path(path).suffix}", "xmc-base/the-corpus")
    for url in origin.also:
        server.files[urlsplit(url).path] = json.dumps({"1": {"label": "one"}}).encode()


def test_the_commands_from_a_name_to_a_store(tmp_path, elsewhere, capsys):
    _hand_out(elsewhere, CARDS["eurlex57k"].places()[0], tmp_path)
    paths = [f"paths.data_dir={tmp_path / 'data'}", f"paths.cache_dir={tmp_path / 'cache'}", "prepare_workers=1"]
    assert command.main(["download", "eurlex57k", *paths]) == 2  # offline, as tests are
    assert "not tried, offline=true" in capsys.readouterr().err
    assert command.main(["download", "eurlex57k", *paths, "offline=false"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'data' / 'eurlex57k'}\n"
    assert command.main(["verify", "eurlex57k", *paths, "--json"]) == 1  # these are not the real files
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"] is False and len(found["findings"]) == 6
    assert command.main(["prepare", "eurlex57k", *paths]) == 0
    assert (Path(capsys.readouterr().out.strip()) / "meta.json").is_file()


@pytest.mark.parametrize("name", [name for name in CARDS if name not in PROGRAM])
def test_by_hand(name, tmp_path, elsewhere):
    """What no program can download says how to get it, and takes the archive that somebody has saved."""
    corpus, card = opened(name, tmp_path)
    with pytest.raises(InputError) as error:
        acquire(corpus, card)
    said = str(error.value)
    assert "\n" not in said and "by hand" in said and str(tmp_path) in said
    assert all(origin.url in said for origin in card.places()) and elsewhere.requests == []
    folder = card.places()[0].folder if card.places() else None
    for layout in corpus.layouts:
        write_corpus(tmp_path / "theirs" / layout, layout, PARTS)
        if folder:
            write_corpus(tmp_path / "theirs" / "both" / folder, layout, PARTS)
            write_corpus(tmp_path / "theirs" / "both" / "the other", layout, PARTS)
        drop = tmp_path / f"{corpus.path.name}.download"
        drop.mkdir(exist_ok=True)
        pack(tmp_path / "theirs" / ("both" if folder else layout), drop / "saved.zip", "deep/inside")
        acquire(corpus, card, offline=True)
        assert corpus.layout() == layout and not drop.exists()
        corpus.path.rename(tmp_path / f"was-{layout}")


@pytest.fixture
def one_step(tmp_path):
    def one_step(name, layout, *overrides):
        write_corpus(opened(name, tmp_path)[0].path, layout, PARTS)
        return xmtc.run([
            f"dataset={name}", f"paths.data_dir={tmp_path}", f"paths.cache_dir={tmp_path / 'cache'}",
            f"paths.runs={tmp_path / 'runs'}", "encoder=bow", "encoder.embedding.size=8", "head=none", "logger=csv",
            "prepare_workers=1", "data.validation_size=9", "data.batch_size=60", "recipe.max_epochs=1", *overrides,
        ])  # fmt: skip

    return one_step


def test_one_step_of_training(one_step):
    result = one_step("pubmed", "match", "dataset.metadata=[venue,author]", "dataset.subset=tail")
    assert result["steps"] == 1 and result["provenance"]["dataset"] == "pubmed"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CARDS if name != "pubmed"])
def test_one_step_of_training_on_every_other(name, one_step, tmp_path):
    assert one_step(name, opened(name, tmp_path)[0].layouts[-1])["steps"] == 1


def test_the_next_origin_is_asked_when_one_fails(tmp_path, elsewhere):
    card = CARDS["eurlex57k"]
    first, second = (urlsplit(origin.url).path for origin in card.places())
    corpus = CorpusSource(str(tmp_path / "data" / "e"), ["eurlex57k"], name="eurlex57k")
    with pytest.raises(InputError) as error:
        acquire(corpus, card, timeout=5)
    assert f"{first}: the server answers 404" in str(error.value) and f"{second}: the server" in str(error.value)
    write_corpus(tmp_path / "theirs", "eurlex57k", PARTS)
    elsewhere.files[second] = pack(tmp_path / "theirs", tmp_path / "x.zip", "dataset")
    elsewhere.tricks[first] = [status(403)]
    assert acquire(corpus, card, timeout=5) == corpus.path and corpus.layout() == "eurlex57k"


def test_opening_the_store_of_a_run_downloads_what_is_missing(tmp_path, elsewhere):
    _hand_out(elsewhere, CARDS["eurlex"].places()[0], tmp_path)
    config = {"dataset": dataset("eurlex", tmp_path / "data"), "prepare_workers": 1, "offline": True}
    config["paths"] = {"cache_dir": str(tmp_path / "cache")}
    with pytest.raises(InputError, match="not tried, offline=true.*by hand: open https://drive.google.com"):
        open_store(config, Words())
    assert elsewhere.requests == []
    assert len(open_store(config | {"offline": False}, Words()).parts["train"]) == 60


def test_an_archive_without_a_corpus(tmp_path, elsewhere):
    origin = CARDS["eurlex"].places()[0]
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "X.trn.txt").write_text("half of it")
    elsewhere.files[urlsplit(origin.url).path] = pack(tmp_path / "theirs", tmp_path / "x.tar.gz", "x")
    corpus = CorpusSource(str(tmp_path / "data" / "e"), ["folder", "pecos"], name="eurlex")
    with pytest.raises(InputError, match="expected one folder in a layout of folder, pecos, found none"):
        acquire(corpus, CARDS["eurlex"], timeout=5)
    assert not corpus.path.exists()
    assert not [p for p in (tmp_path / "data").iterdir() if p.name.endswith("unpacking")]


def test_files_of_ones_own_are_never_touched(tmp_path, elsewhere):
    folder = tmp_path / "e"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    corpus = CorpusSource(str(folder), ["folder", "pecos"], name="eurlex")
    with pytest.raises(InputError, match="holds files in none of the layouts folder, pecos"):
        acquire(corpus, CARDS["eurlex"], timeout=5)
    assert (folder / "notes.txt").read_text() == "mine" and elsewhere.requests == []


@pytest.mark.parametrize("change, line", [
    ({"lables": 3}, "dataset.card.lables: unknown key.*did you mean labels?"),
    ({"labels": "many"}, "dataset.card.labels: expected a whole number or null"),
    ({"origins": [{"url": "x"}]}, r"dataset.card.origins\[0\].layout: must be given"),
    ({"title": None}, "dataset.card.title: expected text"),
])  # fmt: skip
def test_a_card_with_a_mistake(change, line):
    node = {**vars(CARDS["eurlex"]), **change}
    with pytest.raises(InputError, match=line):
        read_card(node).places()
    del node["citation"]
    with pytest.raises(InputError):
        read_card(node)


def test_every_layout_is_some_datasets():
    used = {layout for name in CARDS for layout in opened(name, Path("."))[0].layouts}
    assert used == set(LAYOUTS)
