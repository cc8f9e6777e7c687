"""Preparing against a slow oracle, by several processes, twice, and with everything that can go wrong."""

import errno
import json
import logging
import multiprocessing
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from xmtc.data import files, preparation, shards, store_writer
from xmtc.data.preparation import prepare
from xmtc.data.text import HuggingFace, Words
from xmtc.errors import InputError
from xmtc.testing.corpora import Listed, random_documents, small_store

PARTS = {
    "train": random_documents(150, 0),
    "validation": random_documents(30, 1, words=50, labels=13),
    "test": random_documents(40, 2, words=60, labels=16),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(shards, "SHARD", 16)


def oracle(parts, size):
    """(words, ids of each document of each part, labels, unseen labels, label lists)."""
    seen, frequency = [], Counter()
    for text, _ in parts["train"]:
        for word in text.lower().split():
            seen += [word] * (word not in frequency and word not in seen)
        frequency.update(set(text.lower().split()))
    words = sorted(seen, key=lambda word: (-frequency[word], seen.index(word)))[: size - 2]
    place = {word: i for i, word in enumerate(words, start=2)}
    ids = {p: [[place.get(w, 1) for w in t.lower().split()] or [1] for t, _ in d] for p, d in parts.items()}
    known = sorted({label for p in parts if p != "test" for _, labels in parts[p] for label in labels})
    unseen = sorted({label for _, labels in parts["test"] for label in labels} - set(known))
    number = {label: i for i, label in enumerate(known + unseen)}
    labels = {p: [sorted({number[label] for label in labels}) for _, labels in d] for p, d in parts.items()}
    return words, [frequency[word] for word in words], ids, known, unseen, labels


def rows(values, offsets):
    return [values[a:b].tolist() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "hashes.json")


@pytest.mark.parametrize("size", [500_000, 12])
@pytest.mark.parametrize("validation", [True, False])
def test_against_the_oracle(tmp_path, size, validation):
    parts = {name: part for name, part in PARTS.items() if validation or name != "validation"}
    store = prepare(Listed(**parts, names={"l1": " one\tof\nthem "}), "small", Words(vocabulary_size=size), tmp_path, 1)
    words, frequency, ids, known, unseen, labels = oracle(parts, size)
    assert store.vocabulary.words() == ["<PAD>", "<UNK>", *words]
    assert store.vocabulary.document_frequency.tolist() == [0, 0, *frequency]
    assert (store.vocabulary.size, store.vocabulary.num_documents) == (len(words) + 2, 150)
    assert list(store.parts) == list(parts)
    for name, part in store.parts.items():
        assert rows(part.tokens, part.token_offsets) == ids[name]
        assert rows(part.label_ids, part.label_offsets) == labels[name]
    assert store.labels == known and store.unseen_labels == unseen and unseen
    assert [store.label_names[i] for i, label in enumerate(known) if label == "l1"] == ["one of them"]
    trained = Counter(label for row in labels["train"] for label in row)
    assert store.label_frequency.tolist() == [trained[i] for i in range(len(known))]
    counts = store.meta["counts"]
    for name, part in parts.items():
        assert counts[name] == {
            "documents": len(part),
            "without text": sum(not text for text, _ in part),
            "without label": sum(not given for _, given in part),
            "duplicate labels": sum(len(given) - len(set(given)) for _, given in part),
            "positives of labels unseen in training": sum(i >= len(known) for row in labels[name] for i in row),
        }


def test_document_frequency_not_token_frequency_and_ties_as_first_seen(tmp_path):
    train = [("often often often often rare", ["a"]), ("late common", ["a"]), ("common", ["b"])]
    assert small_store(tmp_path, train=train, test=train).vocabulary.words()[2:] == ["common", "often", "rare", "late"]


def test_ties_prefer_words_with_a_vector(tmp_path):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("late 1 2\nfirst word 1 2\ncommon 1 2\nrare 1 2\n")
    train = [("first often often rare", ["a"]), ("late common", ["a"]), ("common", ["b"])]
    store = small_store(tmp_path, Words(prefer=str(vectors)), train=train, test=train)
    assert store.vocabulary.words()[2:] == ["common", "rare", "late", "first", "often"]


def test_what_was_handled_is_reported(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        small_store(tmp_path, train=[("a", ["x", "x"]), ("", ["x"]), ("b", [])], test=[("a", ["new", "x"])])
    assert "train: 3 documents, 1 without text, 1 without label, 1 duplicate labels" in caplog.text
    assert "test: 1 documents, 1 positives of labels unseen in training" in caplog.text


def test_a_corpus_without_any_word(tmp_path):
    store = small_store(tmp_path, train=[("", ["a"]), ("!!", ["b"])], test=[("word", ["a"])])
    assert store.vocabulary.size == 2
    assert store.parts["train"].tokens.tolist() == [1, 1] and store.parts["test"].tokens.tolist() == [1]


@pytest.mark.parametrize(
    "labels, doubt",
    [
        (["fish", "trade", "fish,trade", "fish, trade", "trade,"], "3 of 3 labels with ',' in them are other labels"),
        (["fish", "trade", "fish trade"], "such as 'fish trade': is it what separates labels"),
        (["fish", "trade", "fish trade", "sea fish", "free trade"], None),  # most are names of their own
        (["fish", ",", "N/A", "A"], None),
        (["a|b", "a|c", "b|c", "a|b|c", "b|d", "c|d"], "6 of 6 labels are made of 4 parts with '|' between them"),
        (["deep sea", "North Sea", "sea fish", "cod"], None),  # names of two words, each of its own
    ],
)
def test_labels_read_with_another_separator_than_their_own_are_doubted(tmp_path, caplog, labels, doubt):
    source = Listed(train=[("a", [label]) for label in labels], test=[("a", labels[:1])])
    for _ in range(2):  # when it is made, and when it is found
        caplog.clear()
        prepare(source, "c", Words(), tmp_path, 1)
        warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert [doubt in warning for warning in warnings] == [True] * bool(doubt)


def test_labels_that_share_parts_are_not_doubted_where_documents_have_several(tmp_path, caplog):
    labels = ["a|b", "a|c", "b|c", "a|b|c", "b|d", "c|d"]
    prepare(Listed(train=[("a", labels)], test=[("a", labels[:1])]), "c", Words(), tmp_path, 1)
    assert not [record.message for record in caplog.records if record.levelname == "WARNING"]


def test_progress_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(shards, "TELL", -1)
    with caplog.at_level(logging.INFO):
        small_store(tmp_path)
    assert "documents/s" in caplog.text


def test_the_same_bytes_for_any_number_of_processes(tmp_path):
    stores = [prepare(Listed(**PARTS), "small", Words(), tmp_path / str(n), n) for n in (1, 2, 3)]
    first = content(stores[0].folder)
    assert len(first) == 18
    assert content(stores[1].folder) == first and content(stores[2].folder) == first


def test_few_blocks_start_no_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "ProcessPoolExecutor", None)
    monkeypatch.setattr(shards, "SHARD", 128)
    prepare(Listed(**PARTS), "small", Words(), tmp_path, 3)


def test_a_process_that_dies(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_start", os._exit)
    with pytest.raises(InputError, match="prepare_workers"):
        prepare(Listed(**PARTS), "small", Words(), tmp_path, 2)
    assert left(tmp_path) == []


def made(monkeypatch):
    """Counts how often a store is written."""
    count, write = [], preparation.StoreWriter.write
    monkeypatch.setattr(preparation.StoreWriter, "write", lambda self: (count.append(1), write(self)))
    return count


def test_made_once_and_again_when_something_changes(tmp_path, monkeypatch):
    count = made(monkeypatch)
    file = tmp_path / "texts"
    file.write_text("one")
    cache = tmp_path / "cache"
    source = Listed(train=[("a", ["x"])], test=[("a", ["x"])], files=[file])
    first = prepare(source, "s", Words(length=3), cache, 1)
    assert prepare(source, "s", Words(length=9), cache, 1).folder == first.folder and len(count) == 1
    os.utime(file, (1, 1))  # touched, not changed
    assert prepare(source, "s", Words(), cache, 1).folder == first.folder and len(count) == 1
    file.write_text("two")
    second = prepare(source, "s", Words(), cache, 1)
    assert second.folder != first.folder and len(count) == 2
    assert second.meta["dataset_sha256"] != first.meta["dataset_sha256"]
    third = prepare(source, "s", Words(vocabulary_size=3), cache, 1)
    assert third.meta["dataset_sha256"] == second.meta["dataset_sha256"] and len(count) == 3
    prepare(Listed(train=[("b", ["x"])], test=[("a", ["x"])], files=[file]), "s", Words(), cache, 1)
    assert len(count) == 4
    monkeypatch.setattr(preparation, "FORMAT", 2)
    monkeypatch.setattr(store_writer, "FORMAT", 2)
    assert prepare(source, "s", Words(), cache, 1).meta["format"] == 2 and len(count) == 5


def test_a_changed_file_of_the_same_size_and_date_is_another(tmp_path):
    """As one from an archive of another version, or one that was written after the clock was set back."""
    file = tmp_path / "texts"
    file.write_text("one")
    os.utime(file, (1, 1))
    source = Listed(train=[("a", ["x"])], test=[("a", ["x"])], files=[file])
    first = prepare(source, "s", Words(), tmp_path / "cache", 1).folder
    before = file.stat()
    file.write_text("two")
    os.utime(file, (1, 1))
    now = file.stat()
    assert (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert now.st_ctime_ns != before.st_ctime_ns
    assert prepare(source, "s", Words(), tmp_path / "cache", 1).folder != first


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
def test_a_store_that_cannot_be_read_now_stays(tmp_path, monkeypatch, number):
    """Making it again would take hours, for want of a few descriptors."""
    folder = small_store(tmp_path).folder
    whole, count = content(folder), made(monkeypatch)

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch, pytest.raises(InputError, match="it stays as it is"):
        patch.setattr(preparation, "damaged", refuse)
        small_store(tmp_path)
    assert content(small_store(tmp_path).folder) == whole and not count


def test_a_cache_that_is_removed_while_it_is_filled_is_one_line(tmp_path, monkeypatch):
    write = preparation.StoreWriter._order_labels

    def removed(self):
        shutil.rmtree(tmp_path / "cache")
        write(self)

    with monkeypatch.context() as patch, pytest.raises(InputError, match="was removed while preparing small") as error:
        patch.setattr(preparation.StoreWriter, "_order_labels", removed)
        small_store(tmp_path / "cache")
    assert "\n" not in str(error.value)
    assert len(small_store(tmp_path / "cache").parts["train"])


def test_too_little_memory_keeps_the_shards_that_are_done(tmp_path, monkeypatch):
    def short(self):
        raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(InputError, match="out of memory while preparing small"):
        patch.setattr(preparation.StoreWriter, "_order_labels", short)
        small_store(tmp_path)
    assert len(list(tmp_path.glob(".*-work/train/*.npz"))) >= 1
    name = small_store(tmp_path).folder.name
    assert left(tmp_path) == [name]


def test_shards_of_a_process_killed_behind_the_whole_store_are_gone_the_next_time(tmp_path, monkeypatch):
    rename = os.replace

    def killed(old, new):
        rename(old, new)
        if str(old).endswith("-new"):
            os._exit(9)

    if not (pid := os.fork()):
        monkeypatch.setattr(os, "replace", killed)
        small_store(tmp_path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    (shards,) = tmp_path.glob(".*-work")
    whole = content(tmp_path / shards.name[1:].removesuffix("-work"))
    count = made(monkeypatch)
    store = small_store(tmp_path).folder
    assert content(store) == whole and not count and left(tmp_path) == [store.name]


def test_two_files_of_one_name_are_told_apart(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "data.csv").write_text("same")
    source = Listed(train=[("a", ["x"])], test=[("a", ["x"])], files=[tmp_path / f / "data.csv" for f in "ab"])
    first = prepare(source, "s", Words(), tmp_path / "cache", 1).folder
    (tmp_path / "a" / "data.csv").write_text("different")
    assert prepare(source, "s", Words(), tmp_path / "cache", 1).folder != first


@pytest.mark.parametrize(
    "damage",
    [
        lambda meta: meta.unlink(),
        lambda meta: meta.write_text("{"),
        lambda meta: meta.write_text(json.dumps(json.loads(meta.read_text()) | {"format": 0})),
    ],
)
def test_an_incomplete_or_older_store_is_made_again(tmp_path, monkeypatch, caplog, damage):
    whole = content(small_store(tmp_path).folder)
    count = made(monkeypatch)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    damage(folder / "meta.json")
    (folder / "text" / "vocabulary.txt").unlink()
    assert content(small_store(tmp_path).folder) == whole
    assert len(count) == 1 and "made again" in caplog.text


def _prepare_slowly(folder, number):
    write = preparation.StoreWriter.write

    def counted(self):
        (Path(folder) / f"written-{number}").touch()
        write(self)

    preparation.StoreWriter.write = counted
    prepare(Listed(**PARTS), "small", Words(), Path(folder) / "cache", 1)


def test_two_processes_at_once_prepare_once(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_prepare_slowly, args=(tmp_path, n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(list(tmp_path.glob("written-*"))) == 1 and len(left(tmp_path / "cache")) == 1


def test_what_a_killed_process_left_is_cleared(tmp_path):
    name = small_store(tmp_path).folder.name
    (tmp_path / name / "meta.json").unlink()
    (tmp_path / f".{name}-abc" / "store").mkdir(parents=True)
    (tmp_path / f".{name}.lock").touch()
    small_store(tmp_path)
    assert left(tmp_path) == [name]


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "module, name", [(store_writer, "save"), (store_writer, "growing"), (np.lib.format, "write_array")]
)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, module, name):
    monkeypatch.setattr(module, name, full)
    with pytest.raises(InputError, match="disk is full"):
        small_store(tmp_path)
    assert left(tmp_path) == []


def test_writing_arrays_reports_a_full_disk():
    with pytest.raises(OSError) as error:  # ndarray.tofile gives no errno
        files.save("/dev/full", np.zeros(100_000))
    assert error.value.errno == errno.ENOSPC


def test_arrays_are_written_as_numpy_writes_them(tmp_path):
    array = np.arange(1000, dtype=np.int32)
    np.save(tmp_path / "a.npy", array)
    files.save(tmp_path / "b.npy", array)
    with files.growing(tmp_path / "c.npy", np.int32, 1000) as file:
        file.write(array[:300].data)
        file.write(array[300:].data)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes() == (tmp_path / "c.npy").read_bytes()


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.raises(InputError, match="paths.cache_dir"):
            small_store(place)

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    folder = small_store(tmp_path).folder
    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(preparation, "locked", refuse)
    assert small_store(tmp_path).folder == folder  # a store that is there needs no writing
    with pytest.raises(InputError, match="cannot write to .*Permission denied"):
        small_store(tmp_path, Words(vocabulary_size=5))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_corpus_that_breaks_off_leaves_nothing(tmp_path, workers):
    fail = {"test": 30, "error": InputError("texts.txt, line 31: bad")}
    with pytest.raises(InputError, match="line 31"):
        prepare(Listed(fail, **PARTS), "small", Words(), tmp_path, workers)
    assert left(tmp_path) == []


@pytest.mark.parametrize("which", ["label_names", "label_parents"])
def test_names_that_cannot_be_read_are_told_before_a_document_is(tmp_path, which):
    def refuse():
        raise InputError("labels.tsv, line 2: bad")

    source = Listed({"train": 0, "error": AssertionError("a document was read")}, **PARTS)
    source.check = lambda: None
    setattr(source, which, refuse)
    with pytest.raises(InputError, match="line 2"):
        prepare(source, "small", Words(), tmp_path, 1)


@pytest.mark.parametrize(
    "train, line",
    [
        ([], "train part of the corpus has no documents"),
        ([("a", [])], "no document of the training part has a label"),
        ([("a", ["x\ty"])], "holds a tab"),
        ([("a", ["x\ny"])], "holds a tab"),
        ([("a", ["x\ud800"])], "half a character"),
    ],
)
def test_corpora_that_cannot_be_used(tmp_path, train, line):
    source = Listed(train=train, test=[("a", [])])
    source.check = lambda: None
    with pytest.raises(InputError, match=line):
        prepare(source, "small", Words(), tmp_path, 1)
    assert left(tmp_path) == []


def test_half_characters_of_a_text(tmp_path):
    train = [("a\ud800b fine", ["x"])]
    assert small_store(tmp_path, Words("papers"), train=train, test=train).vocabulary.size > 2


@pytest.fixture(scope="module", params=["wordpiece", "bytes"])
def tokenizer(request, tmp_path_factory):
    """A folder with a small trained tokenizer, with and without an unknown token."""
    tokenizers = pytest.importorskip("tokenizers")
    from transformers import PreTrainedTokenizerFast

    texts = [text for text, _ in PARTS["train"]]
    if request.param == "wordpiece":
        model = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
        model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        special = {"cls_token": "[CLS]", "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
        trainer = tokenizers.trainers.WordPieceTrainer(vocab_size=40, special_tokens=list(special.values()))
    else:
        model = tokenizers.Tokenizer(tokenizers.models.BPE())
        model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()
        special = {"bos_token": "<s>", "eos_token": "</s>"}
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        special_tokens = ["<s>", "x", "</s>"]
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=300, special_tokens=special_tokens, initial_alphabet=alphabet
        )
    model.train_from_iterator(texts, trainer)
    model.post_processor = tokenizers.processors.TemplateProcessing(
        single="$0 " + list(special.values())[0], special_tokens=[(list(special.values())[0], 0)]
    )
    folder = tmp_path_factory.mktemp(request.param)
    PreTrainedTokenizerFast(tokenizer_object=model, **special, model_max_length=5).save_pretrained(folder)
    return folder


def test_hugging_face_ids_are_the_tokenizers_own(tmp_path, tokenizer):
    from transformers import AutoTokenizer

    spec = HuggingFace(str(tokenizer), length=None)
    parts = PARTS | {"test": [("w1 ünknown 漢字 \ud800", ["l1"]), ("", ["l2"])]}
    store = prepare(Listed(**parts), "small", spec, tmp_path / "one", 1)
    theirs = AutoTokenizer.from_pretrained(tokenizer)
    empty = theirs.unk_token_id if theirs.unk_token_id is not None else theirs.eos_token_id
    padding = theirs.pad_token_id if theirs.pad_token_id is not None else theirs.eos_token_id
    assert (store.vocabulary.padding, store.vocabulary.unknown) == (padding, empty) and padding != 0
    for name, part in store.parts.items():
        texts = [text.replace("\ud800", "?") for text, _ in parts[name]]
        expected = [theirs(text, add_special_tokens=False)["input_ids"] or [empty] for text in texts]
        assert rows(part.tokens, part.token_offsets) == expected
    train = store.parts["train"]
    frequency = Counter(i for row in rows(train.tokens, train.token_offsets) for i in set(row))
    frequency[empty] -= store.meta["counts"]["train"]["without text"]
    expected = [frequency[i] for i in range(store.vocabulary.size)]
    assert store.vocabulary.document_frequency.tolist() == expected and store.vocabulary.size == len(theirs)
    assert (store.folder / "text" / "tokenizer.json").exists()
    assert content(prepare(Listed(**parts), "small", spec, tmp_path / "two", 2).folder) == content(store.folder)
