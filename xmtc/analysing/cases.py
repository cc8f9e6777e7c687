"""Case studies: the truth, what the first stage proposed, what the whole system answered, document by document."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from heapq import nlargest
from itertools import islice

import torch

from xmtc.analysing.documents import test_texts
from xmtc.data.lists import Lists
from xmtc.errors import InputError
from xmtc.labels import LabelTable
from xmtc.loading import load
from xmtc.reporting.runs import Run
from xmtc.tagger import Tagger

log = logging.getLogger(__name__)
SHOWN = 5
TITLES = {
    "true": "true",
    "first": "first stage",
    "asked": "labels that re-read it",
    "raw": "without the head",
    "answered": "answered",
}


def stages(model: Tagger, texts: Sequence[str]) -> Iterator[dict]:
    """For each text: `answered`, the best (name, probability); `raw`, those without the correlation head where there is
    one; `first` and `asked` where the encoder has a first stage (LabelCoRank): its best and the labels S that re-read
    the text, in their order. Cost: a pass over the texts, two with a first stage."""
    propose, size = _first_stage(model), model.batch_size
    for start in range(0, len(texts), size):
        own = texts[start : start + size]
        held: list[dict] = [{"text": text} for text in own]
        for case, before, after in zip(held, *model.both(own, SHOWN), strict=True):
            case["answered"] = list(zip(after.names, after.scores, strict=True))
            if model.has_head:
                case["raw"] = list(zip(before.names, before.scores, strict=True))
        if propose is not None:
            with torch.inference_mode():
                logits_BL, asked_BG = propose(model.encode(own))
                values, best = torch.sigmoid(logits_BL).topk(min(SHOWN, logits_BL.shape[1]))
            names = model.labels.names
            for case, *row in zip(held, best.tolist(), values.tolist(), asked_BG.tolist(), strict=True):
                case["first"] = [(names[i], value) for i, value in zip(*row[:2], strict=True)]
                case["asked"] = [names[i] for i in row[2]]
        yield from held


def case_studies(
    run: Run,
    lists: Lists,
    labels: LabelTable,
    count: int = 3,
    documents: Sequence[int] = (),
    most_changed: bool = False,
) -> tuple[list[dict], str]:
    """Test documents with their true labels, what each stage says and what predictions.npz holds as the answer; and why
    there is no more, if so.

    documents: by their number, from 0; else the first `count`, or with `most_changed` those with the most labels among
    the five answered that the stage before did not have there. What lies before the answer needs the checkpoint and the
    corpus of the run; where one is missing, the first documents are shown as predictions.npz has them. InputError: no
    document of such a number. Cost: a read of the corpus up to the last document and a pass of the model over those
    shown, or over all for `most_changed`.
    """
    if wrong := [number for number in documents if not 0 <= number < len(lists)]:
        raise InputError(f"{run.folder}: documents: expected numbers from 0 to {len(lists) - 1}, got {wrong[0]}")
    rows = list(documents) or list(range(min(count, len(lists))))
    stored = [_stored(row, lists, labels) for row in rows]
    if not rows:
        return [], ""
    every = most_changed and not documents
    try:
        texts = list(islice(test_texts(run, lists, labels), len(lists) if every else max(rows) + 1))
    except InputError as error:
        log.warning("%s", error)
        return stored, "the corpus of the run is not here or is another one: no texts, no earlier stage"
    for case in stored:
        case["text"] = texts[case["document"]]
    try:
        model = load(run.folder)
    except InputError as error:
        log.warning("%s", error)
        return stored, "the run's checkpoint is not here or cannot be loaded: no earlier stage"
    if not model.has_head and _first_stage(model) is None:
        return stored, "the model has one stage" if every else ""
    if every:
        told = (_stored(row, lists, labels) | _before(case) for row, case in enumerate(stages(model, texts)))
        return nlargest(count, told, key=_new), ""  # of equal ones the first
    found = stages(model, [case["text"] for case in stored])
    return [case | _before(told) for case, told in zip(stored, found, strict=True)], ""


def _first_stage(model: Tagger):
    return getattr(getattr(model, "encoder", None), "propose", None)


def _before(case: dict) -> dict:
    """Without the answer, which predictions.npz has."""
    return {key: value for key, value in case.items() if key != "answered"}


def _new(case: dict) -> int:
    """Answers that the stage before did not have among its best."""
    before = {name for name, _ in case.get("first") or case["raw"]}
    return sum(name not in before for name, _ in case["answered"])


def _stored(row: int, lists: Lists, labels: LabelTable) -> dict:
    """True labels and the best answers of a document."""
    start, stop = lists.gold.offsets[row : row + 2].tolist()
    ids = lists.gold.ids[start:stop].tolist()
    true = [labels[i].name if i < len(labels) else lists.unseen[i - len(labels)] for i in ids]
    best = zip(lists.labels[row, :SHOWN].tolist(), lists.scores[row].tolist(), strict=False)
    answered = [(labels[i].name, round(score, 4)) for i, score in best if i >= 0]  # below: padding
    return {"document": row, "true": true, "answered": answered}


def as_markdown(title: str, cases: Sequence[dict], note: str = "") -> str:
    """A list for each text or document, nothing without any."""
    if not cases:
        return ""
    lines = [f"\n## {title}\n"] + ([f"\nNo more than this: {note}.\n"] if note else [])
    for case in cases:
        if "document" in case:
            lines.append(f"\nTest document {case['document']}\n")
        if "text" in case:
            lines.append(f"\n> {' '.join(case['text'].split())[:300]}\n")
        lines.append("\n")
        for key, heading in TITLES.items():
            if key in case:
                shown = [entry if isinstance(entry, str) else f"{entry[0]} ({entry[1]:.2f})" for entry in case[key]]
                lines.append(f"* {heading}: {', '.join(shown) or 'none'}\n")
    return "".join(lines)
