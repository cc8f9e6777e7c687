"""What the model says, as the server's JSON. The only file here that knows the interface of `xmtc.load`'s models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from xmtc.tagger import MOST

WATCHED = 100  # ranks compared by /explain; a label may come from further down


class PredictRequest(BaseModel):
    """Texts, and which of their labels to answer with."""

    model_config = ConfigDict(extra="forbid", strict=True)
    texts: list[str]
    k: int | None = Field(5, ge=1, description="labels at most; more than the model has gives all; null: by threshold")
    threshold: float | str | None = Field(None, description="least probability, or the name of a calibrated threshold")
    raw: bool = Field(False, description="the ranking without the correlation head")


class Labels(BaseModel):
    """The labels of one text, best first."""

    labels: list[str]
    names: list[str]
    scores: list[float]


class PredictAnswer(BaseModel):
    predictions: list[Labels]


class ExplainRequest(BaseModel):
    """One text, whose rankings with and without the head are compared."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str
    k: int = Field(10, ge=1)
    why: bool = Field(False, description="also whose evidence moved each label, as python -m xmtc.explain computes it")


class Move(BaseModel):
    """A label in both rankings. A rank beyond those compared is null, and so is its score."""

    label: str
    name: str
    move: str = Field(description="promoted, demoted or same, by rank")
    raw_rank: int | None
    raw_score: float | None
    rank: int | None
    score: float | None


class ExplainAnswer(BaseModel):
    head: bool = Field(description="whether the model has a correlation head at all")
    raw: list[Move]
    enhanced: list[Move]
    why: list[dict] | None = Field(None, description="with why=true: a label of either ranking each, see xmtc.explain")


class LabelRow(BaseModel):
    index: int
    label: str
    name: str
    frequency: int = Field(description="training documents that hold it")


class LabelsAnswer(BaseModel):
    total: int
    offset: int
    labels: list[LabelRow]


def asked(raw: bool, threshold: float | None, k: int) -> tuple:
    """The key of a prediction: texts with the same one are read together. A threshold chooses among the k best, which
    for another k are others, and calibrated scores need not fall: cutting afterwards would give another answer. So
    would an ensemble, which for more labels than usual reads more of each member's."""
    return "predict", raw, threshold, None if threshold is None and k <= MOST else k


def explaining(why: bool, k: int) -> tuple:
    """The key of an explanation: those that compare as many ranks are read together."""
    return "explain", why, max(k, WATCHED)


class Answers:
    """Runs in the model's thread. A key is what `asked` or `explaining` makes."""

    def __init__(self, model):
        self.model, self.has_head = model, model.has_head
        self._searched: list[str] | None = None

    def work(self, key: tuple, texts: Sequence[str], k: int) -> Sequence[Any]:
        if key[0] == "predict":
            _, raw, threshold, _ = key
            return self.model.predict(texts, k=k, threshold=threshold, raw=raw)
        raw, enhanced = self.model.both(texts, max(k, WATCHED))
        why = [self._why(text, k) if key[1] else None for text in texts]
        return list(zip(raw, enhanced, why, strict=True))

    def _why(self, text: str, k: int) -> list[dict]:
        from xmtc.explaining.document import explain

        return explain(self.model, text, k, words=False)["labels"]

    def cut(self, answer: Any, k: int) -> dict:
        if isinstance(answer, tuple):
            raw, enhanced, why = answer
            found = explained(raw, enhanced, k) | {"head": self.has_head}
            shown = {row["label"] for ranking in (found["raw"], found["enhanced"]) for row in ranking}
            return found if why is None else found | {"why": [label for label in why if label["id"] in shown]}
        return {"labels": answer.labels[:k], "names": answer.names[:k], "scores": answer.scores[:k]}

    def about(self) -> dict:
        """What the page and monitoring want to know of the model."""
        config = self.model.config
        names = config.get("names") or {}
        return {
            "dataset": (config.get("dataset") or {}).get("name"),
            "encoder": names.get("encoder"),
            "head": names.get("head") if self.has_head else "none",
            "labels": self.model.num_labels,
        }

    def search(self, words: str, offset: int, limit: int) -> dict:
        """Labels whose id or name holds `words`, those that start with it first; all labels for an empty search.

        The first search lower-cases all labels; each one after reads them once: 30 ms for 500,000.
        """
        labels, words = self.model.labels, words.strip().casefold()
        if not words:
            found = range(len(labels))
        else:
            if self._searched is None:
                self._searched = [f"{label.name}\n{label.id}".casefold() for label in labels]
            lines = self._searched
            first = [i for i, line in enumerate(lines) if words in line]
            found = sorted(first, key=lambda i: not (lines[i].startswith(words) or f"\n{words}" in lines[i]))
        rows = [(i, labels[i]) for i in found[offset : offset + limit]]
        return {
            "total": len(found),
            "offset": offset,
            "labels": [{"index": i, "label": x.id, "name": x.name, "frequency": x.frequency} for i, x in rows],
        }


def explained(raw, enhanced, k: int) -> dict:
    """Two rankings of one text side by side: each one's first k labels, with their places in both."""
    places = [{label: rank for rank, label in enumerate(ranking.labels)} for ranking in (raw, enhanced)]

    def moves(ranking) -> list[dict]:
        rows = []
        for label, name in list(zip(ranking.labels, ranking.names, strict=True))[:k]:
            before, after = places[0].get(label), places[1].get(label)
            # one that is not among the ranks compared stands behind them
            gain = (len(places[0]) if before is None else before) - (len(places[1]) if after is None else after)
            rows.append({
                "label": label,
                "name": name,
                "move": "promoted" if gain > 0 else "demoted" if gain < 0 else "same",
                "raw_rank": None if before is None else before + 1,
                "raw_score": None if before is None else raw.scores[before],
                "rank": None if after is None else after + 1,
                "score": None if after is None else enhanced.scores[after],
            })  # fmt: skip
        return rows

    return {"raw": moves(raw), "enhanced": moves(enhanced)}
