"""Files and streams of documents in, JSON lines out."""

import gzip
import json
import logging
import os
import re
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import xmtc
from xmtc.errors import InputError
from xmtc.predicting.inputs import Columns, format_of, rows
from xmtc.predicting.job import _digits, _stamps, predict_file


@pytest.fixture
def texts(test_texts):
    return [text for text, _ in test_texts]


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def wanted(run, texts, **options):
    answers = xmtc.load(run).predict(texts, **options)
    return [{"labels": a.labels, "names": a.names, "scores": [_digits(s) for s in a.scores]} for a in answers]


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv", "parquet", "txt.gz"])
def test_every_format_gives_the_same_answers(run, texts, tmp_path, kind):
    path = tmp_path / f"documents.{kind}"
    if kind == "txt":
        path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(texts).encode())  # a byte-order mark, no last line end
    elif kind == "txt.gz":
        path.write_bytes(gzip.compress("".join(f"{text}\n" for text in texts).encode()))
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps({"text": text, "n": i}) + "\n" for i, text in enumerate(texts)))
    elif kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"text": texts, "n": range(len(texts))}), path)
    else:
        mark = "\t" if kind == "tsv" else ","
        path.write_text(f"n{mark}text\n" + "".join(f'{i}{mark}"{text}"\n' for i, text in enumerate(texts)))
    out = tmp_path / "out.jsonl"
    assert predict_file(str(run), str(path), str(out), k=3, batch_size=7) == len(texts)
    assert read(out) == wanted(run, texts, k=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, "out.jsonl"])


def test_small_probabilities_keep_their_digits(run, texts, tmp_path, monkeypatch):
    """Of thousands of labels most are below a millionth; cut after seven places they came out as equal, or as 0."""
    path, out = tmp_path / "a.txt", tmp_path / "out.jsonl"
    path.write_text(f"{texts[0]}\n")
    logits = np.linspace(-12, -20, 100, dtype=np.float32)[None]
    monkeypatch.setattr("xmtc.model.Model.predict_batch", lambda *_: (logits, np.arange(100)[None]))
    predict_file(str(run), str(path), str(out), k=100)
    np.testing.assert_allclose(read(out)[0]["scores"], 1 / (1 + np.exp(-logits[0].astype(float))), rtol=1e-4)


def test_columns_ids_and_threshold(run, texts, tmp_path):
    path, out = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    rows = [{"nr": i, "title": text[:10], "body": text[10:]} for i, text in enumerate(texts)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    options = {"text_column": ["title", "body"], "id_column": "nr", "k": None, "threshold": 0.1}
    predict_file(str(run), str(path), str(out), **options)
    answers = read(out)
    assert [answer.pop("id") for answer in answers] == list(range(len(texts)))
    assert answers == wanted(run, [f"{t[:10]} {t[10:]}" for t in texts], k=None, threshold=0.1)


BROKEN = {
    "documents.txt": (b"fine\nbad \xff byte\n\nlast", "line 2: expected UTF-8 text, found byte 0xff at column 5", 1, 4),
    "malformed.jsonl": (b'{"text": "fine"}\n{"text": \n{"text": "b"}\n', "line 2: malformed JSON", 1, 3),
    "other.jsonl": (b'{"text": "fine"}\n[1]\n{"text": 3}\n{"t": "b"}\n', "line 2: expected a JSON object", 1, 4),
    "bytes.jsonl": (b'{"text": "fine"}\n{"text": "\xff"}\n', "line 2: expected UTF-8", 1, 2),
    "deep.jsonl": (b'{"text": "fine"}\n' + b"[" * 200_000 + b"\n", "line 2: malformed JSON", 1, 2),
    "wide.csv": (b"text,n\nfine,1\na,b,c\nlast,2\n", "line 3: expected 2 columns", 1, 3),
    "quote.csv": (b'text,n\nfine,1\n"a"b,2\nlast,3\n', "line 3: malformed CSV", 1, 3),
    "bytes.csv": (b'text,n\nfine,1\n"two\nlines \xff",2\nlast,3\n', "line 4: expected UTF-8.*byte 0xff", 1, 3),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_document_that_cannot_be_read(run, tmp_path, name, caplog):
    content, message, before, count = BROKEN[name]
    path, out = tmp_path / name, tmp_path / "out.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        predict_file(str(run), str(path), str(out))
    assert "\n" not in str(error.value) and "on_error=skip" in str(error.value) and name in str(error.value)
    assert not out.exists() and len(read(tmp_path / "out.jsonl.partial")) == before
    (tmp_path / "out.jsonl.partial").unlink()
    with caplog.at_level(logging.INFO, "xmtc"):
        assert predict_file(str(run), str(path), str(out), on_error="skip") == count
    answers = read(out)
    assert len(answers) == count and answers[before]["labels"] == []
    assert re.search(message, answers[before]["error"]) and re.search(message, caplog.text)
    assert len(answers[0]["labels"]) == 5
    unread = sum("error" in answer for answer in answers)
    assert f"{unread} of {count} documents could not be read" in caplog.text


def test_nul_and_a_text_of_ten_megabytes(run, tmp_path):
    path, out = tmp_path / "a.txt", tmp_path / "out.jsonl"
    path.write_bytes(b"nul \x00 g0c1w1\n" + b"g0c1w1 n3 " * 1_000_000 + b"\n\n")
    assert predict_file(str(run), str(path), str(out)) == 3
    assert [len(answer["labels"]) for answer in read(out)] == [5, 5, 5]


@pytest.mark.parametrize("name, content, options, message", [
    ("a.csv", b"n,body\n1,2\n", {}, "line 1: no column 'text', found n, body; set text_column"),
    ("a.csv", b"text\n1\n", {"id_column": "nr"}, "no column 'nr'.*set id_column"),
    ("a.csv", b"text\n1\n", {"delimiter": "ab"}, "delimiter"),
    ("a.pdf", b"%PDF", {}, "cannot tell its format"),
    ("a.txt.gz", b"not gzip", {}, "cannot be read"),
    ("a.txt.gz", gzip.compress(b"line\n" * 100, mtime=0)[:-12], {}, "cut short"),
    ("a.parquet", b"PAR1 but no", {}, "expected a whole Parquet file"),
    ("a.txt", b"x\n", {"text_column": "body"}, "text_column: .*a.txt is read as text, which has none; set format"),
    ("a.txt", b"x\n", {"id_column": "nr"}, "id_column: .*a.txt is read as text, which has none; set format"),
    ("a.jsonl", b"{}\n", {"delimiter": ";"}, "delimiter: .*is read as jsonl, which has none; set format to csv"),
    ("a.txt", b"x\n", {"k": 0}, "k: expected at least 1"),
    ("a.txt", b"x\n", {"k": None}, "k: expected how many labels at most, or a threshold"),
    ("a.txt", b"x\n", {"device": "abacus"}, "device=abacus: cannot be used here"),
    ("a.txt", b"x\n", {"device": "meta"}, "device=meta: cannot be used here"),
    ("a.txt", b"x\n", {"threshold": 1.5}, "from 0 to 1"),
    ("a.txt", b"x\n", {"output": "nowhere/out.jsonl"}, "there is no such folder"),
    ("a.txt", b"x\n", {"execution": "magic"}, "execution=magic: unknown choice"),
])  # fmt: skip
def test_what_spoils_the_whole_input(run, tmp_path, monkeypatch, name, content, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        predict_file(str(run), name, **({"output": "out.jsonl"} | options))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("out.jsonl*"))  # the right command would be taken for another one


def test_missing_input_and_a_folder(run, tmp_path):
    for name, message in ((tmp_path / "none.txt", "there is no file"), (tmp_path, "cannot be opened")):
        with pytest.raises(InputError, match=message):
            predict_file(str(run), str(name))


def test_answers_never_take_the_place_of_the_input(run, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("a text\n")
    (tmp_path / "link.txt").symlink_to(path)
    for output in (path, tmp_path / "link.txt"):
        with pytest.raises(InputError, match="is the input"):
            predict_file(str(run), str(path), str(output))
    assert path.read_text() == "a text\n"


def test_ids_that_are_no_unicode(run, tmp_path):
    """Half a surrogate pair, which JSON can say and UTF-8 cannot, comes back; a byte that is none is told."""
    path, out = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"text": "a", "nr": "one \\ud800"}\n')
    predict_file(str(run), str(path), str(out), id_column="nr")
    assert [answer["id"] for answer in read(out)] == ["one \ud800"]
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,nr,other\na,1,\xff\nb,2\xfe,c\n")
    predict_file(str(run), str(path), str(out), id_column="nr", on_error="skip")
    told = [answer.get("error", "") for answer in read(out)]
    assert told[0] == "" and told[1].endswith("line 3: expected UTF-8 text, found byte 0xfe")
    path.write_bytes("text,nr\na,1\n".encode("utf-16"))
    with pytest.raises(InputError, match="line 1: expected UTF-8 text, found byte 0xff"):
        predict_file(str(run), str(path), id_column="nr")
    path.write_bytes("text,größe\na,1\n".encode("cp1252"))
    assert predict_file(str(run), str(path), str(out)) == 1


def test_empty_input_is_an_empty_answer(run, tmp_path):
    (tmp_path / "a.txt").touch()
    assert predict_file(str(run), str(tmp_path / "a.txt"), str(tmp_path / "out")) == 0
    assert (tmp_path / "out").read_bytes() == b""


def test_an_interrupted_file_goes_on(run, texts, tmp_path, monkeypatch):
    path, out, partial = tmp_path / "a.txt", tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    path.write_text("".join(f"{text}\n" for text in texts))
    predict_file(str(run), str(path), str(out))
    whole = out.read_bytes()
    out.unlink()
    monkeypatch.setattr("xmtc.predicting.job.BLOCK", 8)
    original = xmtc.model.Model.predict

    def stop(self, given, *rest):
        if given and given[0] == texts[16]:
            raise KeyboardInterrupt
        return original(self, given, *rest)

    monkeypatch.setattr(xmtc.model.Model, "predict", stop)
    with pytest.raises(KeyboardInterrupt):
        predict_file(str(run), str(path), str(out))
    assert not out.exists() and len(read(partial)) == 16
    with open(partial, "ab") as file:
        file.write(b'{"labels": ["half a')  # the machine stopped within a line
    with pytest.raises(InputError, match=r"another command \(other k\); delete it"):
        predict_file(str(run), str(path), str(out), k=4)
    seen = []
    monkeypatch.setattr(xmtc.model.Model, "predict", lambda *a: seen.extend(a[1]) or original(*a))
    predict_file(str(run), str(path), str(out))
    assert out.read_bytes() == whole and seen == texts[16:] and not partial.exists()


@pytest.mark.parametrize("model", ["checkpoints/best.ckpt", "model.safetensors", "ensemble.json"])
def test_answers_of_another_model_are_not_continued(tmp_path, model):
    path = tmp_path / "run" / model
    path.parent.mkdir(parents=True)
    path.write_text("one")
    before = _stamps(str(tmp_path / "run"), "a.txt")
    assert _stamps(str(tmp_path / "run"), "a.txt") == before
    path.write_text("another")
    assert _stamps(str(tmp_path / "run"), "a.txt") != before


def test_formats_by_name():
    names = {"a.jsonl.gz": "jsonl", "b.CSV": "csv", "c": "text", "-": "text", "d.tsv": "csv", "e.txt.xz": "text"}
    assert {name: format_of(name, "auto") for name in names} == names
    assert format_of("-", "jsonl") == "jsonl"


def test_reading_is_a_stream(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("some words of a text\n" * 60_000)
    tracemalloc.start()
    assert sum(1 for _ in rows(str(path), "text", Columns(["text"]))) == 60_000
    assert tracemalloc.get_traced_memory()[1] < 400_000  # the file has 1.3 MB
    tracemalloc.stop()


def command(python, *words, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([python, "-m", "xmtc.predict", *words], env=environment, **pipes, **options)


def test_the_command_answers_on_stdout_alone(run, texts, tmp_path):
    process = command(sys.executable, f"checkpoint={run}", "input=-", "k=2", cwd=tmp_path)
    out, errors = process.communicate("\n".join(texts).encode(), timeout=280)
    assert process.returncode == 0 and [json.loads(line) for line in out.splitlines()] == wanted(run, texts, k=2)
    assert b"documents answered" in errors and list(tmp_path.iterdir()) == []


def test_a_closed_pipe_and_a_wrong_key_end_quietly(run, python):
    process = command(python, f"checkpoint={run}", "input=-", "k=100", "batch_size=1")
    wrong = command(python, f"checkpoint={run}", "input=-", "topk=3")
    process.stdout.close()
    _, errors = process.communicate(b"g0c1w1\n" * 50, timeout=280)
    assert process.returncode == 141 and b"Traceback" not in errors and b"Error" not in errors
    _, errors = wrong.communicate(b"", timeout=280)
    assert wrong.returncode == 2 and len(errors.splitlines()) == 1 and b"topk" in errors


def test_another_execution_on_the_command_line(run, tmp_path, python):
    """`execution` is also a group of xmtc.run's configuration; here it is a plain key."""
    (tmp_path / "a.txt").write_text("g0c1w1 n3\n")
    command = [python, "-m", "xmtc.predict", f"checkpoint={run}", f"input={tmp_path / 'a.txt'}", "k=3"]
    dense, chunked = (
        subprocess.run([*command, f"execution={way}"], capture_output=True, text=True) for way in ("dense", "chunked")
    )
    assert dense.returncode == chunked.returncode == 0, chunked.stderr
    assert json.loads(dense.stdout)["labels"] == json.loads(chunked.stdout)["labels"]
