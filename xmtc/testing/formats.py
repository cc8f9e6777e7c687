"""Writes a small corpus in each layout that corpora are handed out in, as their authors' files look."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

Parts = dict[str, list[tuple[str, list[str]]]]  # part -> (text, labels), the labels being "0", "1", ...
SHORT = {"train": "trn", "test": "tst"}
DEV = {"train": "train", "validation": "dev", "test": "test"}
VALID = {"train": "train", "validation": "valid", "test": "test"}


def numbered_documents(count: int, seed: int, labels: int = 12, words: int = 60) -> list[tuple[str, list[str]]]:
    """Lower-case texts of at least one word, labels as numbers in ascending order, at least one."""
    random = np.random.default_rng(seed)
    documents = []
    for _ in range(count):
        text = " ".join(f"w{int(w)}" for w in random.integers(0, words, random.integers(1, 12)))
        chosen = sorted(set(random.integers(0, labels, random.integers(1, 5)).tolist()))
        documents.append((text, [str(label) for label in chosen]))
    return documents


def _lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _json_lines(path: Path, rows: list[dict], compressed: bool = False) -> None:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if compressed else data)


def _size(parts: Parts) -> int:
    return 1 + max(int(label) for documents in parts.values() for _, labels in documents for label in labels)


def write_folder(folder: Path, parts: Parts) -> None:
    for part, documents in parts.items():
        _lines(folder / f"{DEV[part]}_texts.txt", [text for text, _ in documents])
        _lines(folder / f"{DEV[part]}_labels.txt", [" ".join(labels) for _, labels in documents])


def write_pecos(folder: Path, parts: Parts) -> None:
    """As scipy.sparse.save_npz writes; with an explicit zero, which is no label."""
    for part, documents in parts.items():
        _lines(folder / f"X.{SHORT[part]}.txt", [text for text, _ in documents])
        columns = [int(label) for _, labels in documents for label in labels]
        offsets = np.cumsum([0] + [len(labels) for _, labels in documents])
        values = np.ones(len(columns) + 1, np.float32)
        values[-1] = 0
        offsets[-1] += 1
        np.savez_compressed(
            folder / f"Y.{SHORT[part]}.npz",
            indices=np.array([*columns, 0], np.int32), indptr=offsets.astype(np.int32), format=np.array(b"csr"),
            shape=np.array([len(documents), _size(parts)]), data=values,
        )  # fmt: skip
    _lines(folder / "output-items.txt", [f"label {i}" for i in range(_size(parts))])


def write_bag_of_words(folder: Path, parts: Parts) -> None:
    """Words are their numbers in Xf.txt; a word that stands twice has the value 2."""
    words = sorted({word for documents in parts.values() for text, _ in documents for word in text.split()})
    number = {word: i for i, word in enumerate(words)}
    _lines(folder / "Xf.txt", words)
    _lines(folder / "Yf.txt", [f"label {i}" for i in range(_size(parts))])
    for part, documents in parts.items():
        rows = [f"{len(documents)} {len(words)} {_size(parts)}"]
        for text, labels in documents:
            counts = {word: text.split().count(word) for word in dict.fromkeys(text.split())}
            pairs = " ".join(f"{number[word]}:{count:.6f}" for word, count in counts.items())
            rows.append(f"{','.join(labels)} {pairs}")
        _lines(folder / f"{part}.txt", rows)


def write_xml_repository(folder: Path, parts: Parts) -> None:
    for part, documents in parts.items():
        rows = []
        for i, (text, labels) in enumerate(documents):
            title, _, content = text.partition(" ")
            ids = [int(label) for label in labels]
            row = {"uid": str(i), "title": title, "content": content, "target_ind": ids}
            rows.append(row | {"target_rel": [1.0] * len(ids)})
        _json_lines(folder / f"{SHORT[part]}.json.gz", rows, compressed=True)
    _json_lines(folder / "lbl.json.gz", [{"uid": str(i), "title": f"label {i}"} for i in range(_size(parts))], True)


def write_match(folder: Path, parts: Parts) -> None:
    words = sorted({word for documents in parts.values() for text, _ in documents for word in text.split()})
    number = {word: str(i) for i, word in enumerate(words)}
    _lines(folder / "vocabulary.txt", [f"{i}\t{word}" for i, word in enumerate(words)])
    _lines(folder / "id2label.txt", [f"{i}  label_{i}" for i in range(_size(parts))])
    _lines(folder / "taxonomy.txt", ["0 1 2", "1  3"])
    for part, documents in parts.items():
        rows = [
            {"paper": f"{part}{i}", "venue": "UbiComp", "author": ["a1", "b 2"], "reference": [],
             "text": " ".join(number[word] for word in text.split()), "label": labels}
            for i, (text, labels) in enumerate(documents)
        ]  # fmt: skip
        _json_lines(folder / f"{DEV[part]}.json", rows)


def write_laco(folder: Path, parts: Parts) -> None:
    for part, documents in parts.items():
        rows = []
        for text, labels in documents:
            entries = [{"predicate": label, "object_type": "", "subject_type": "", "object": "", "subject": ""}
                       for label in labels]  # fmt: skip
            rows.append({"text": f"{text}\n", "spo_list": entries})
        _json_lines(folder / f"{DEV[part]}_data.json", rows)


def write_sgm(folder: Path, parts: Parts) -> None:
    for part, documents in parts.items():
        _lines(folder / f"{VALID[part]}.src", [text for text, _ in documents])
        _lines(folder / f"{VALID[part]}.tgt", [" ".join(labels) for _, labels in documents])
    (folder / "topic_sorted.json").write_text(json.dumps([str(i) for i in range(_size(parts))]))


def write_hedwig(folder: Path, parts: Parts) -> None:
    for part, documents in parts.items():
        rows = [
            "".join("1" if str(i) in labels else "0" for i in range(_size(parts))) + f"\t{text}"
            for text, labels in documents
        ]
        _lines(folder / f"{DEV[part]}.tsv", rows)


def write_labelcorank(folder: Path, parts: Parts) -> None:
    for part, documents in parts.items():
        with open(folder / f"{VALID[part]}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows((text, " ".join(labels)) for text, labels in documents)
    _lines(folder / "tags.txt", [f"label {i}" for i in range(_size(parts))])


def write_eurlex57k(folder: Path, parts: Parts) -> None:
    """Words are spread over the fields; names of files sort in the order of the documents."""
    for part, documents in parts.items():
        (folder / DEV[part]).mkdir()
        for i, (text, labels) in enumerate(documents):
            header, *body = text.split()
            row = {"celex_id": f"3{i:06d}", "type": "Regulation", "title": "not part of the text", "header": header}
            row |= {"recitals": "\n", "main_body": body, "attachments": "", "concepts": labels}
            (folder / DEV[part] / f"3{i:06d}.json").write_text(json.dumps(row), encoding="utf-8")
    concepts = {str(i): {"concept_id": str(i), "label": f"label {i}", "alt_labels": [], "parents": ["0"][:i]}
                for i in range(_size(parts))}  # fmt: skip
    (folder / "EURLEX57K.json").write_text(json.dumps(concepts), encoding="utf-8")


WRITERS: dict[str, Callable[[Path, Parts], None]] = {
    "folder": write_folder,
    "pecos": write_pecos,
    "xml_repository": write_xml_repository,
    "bag_of_words": write_bag_of_words,
    "match": write_match,
    "laco": write_laco,
    "sgm": write_sgm,
    "hedwig": write_hedwig,
    "labelcorank": write_labelcorank,
    "eurlex57k": write_eurlex57k,
}
WITHOUT_VALIDATION = ("pecos", "xml_repository", "bag_of_words")


def write_corpus(folder: Path, layout: str, parts: Parts) -> Parts:
    """Writes `parts` (those that the layout has) into a new folder; returns what a reader must give back."""
    folder.mkdir(parents=True)
    kept = {part: parts[part] for part in parts if part != "validation" or layout not in WITHOUT_VALIDATION}
    WRITERS[layout](folder, kept)
    if layout == "xml_repository":
        kept = {part: [(_titled(text), labels) for text, labels in documents] for part, documents in kept.items()}
    if layout == "bag_of_words":
        kept = {part: [(_grouped(text), labels) for text, labels in documents] for part, documents in kept.items()}
    return kept


def _titled(text: str) -> str:
    title, blank, content = text.partition(" ")
    return f"{title} /SEP/ {content}" if blank else title


def _grouped(text: str) -> str:
    words = text.split()
    return " ".join(word for distinct in dict.fromkeys(words) for word in [distinct] * words.count(distinct))
