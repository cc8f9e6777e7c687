"""What a head has learnt of a label set: how much each label's certainty raises or lowers every other label.

influence(j, l) = the rise of l's enhanced logit when the raw logit of j on an empty document is raised to +10 (as good
as certain), all blocks included. It is a difference of two answers of the head, not a derivative.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from xmtc.data.files import replaced
from xmtc.errors import InputError
from xmtc.given import whole
from xmtc.model import LOGITS, Model

CERTAIN = 10.0
SOURCES = 5000  # labels, most frequent first, whose influence is looked at


@dataclass(frozen=True)
class Influence:
    """source, target: label indices. logits: what the certainty of source adds to target."""

    source: int
    target: int
    logits: float


def strongest(model: Model, count: int = 50, sources: int = SOURCES) -> list[Influence]:
    """The `count` strongest influences of one label on another, strongest first, by absolute value.

    sources: how many labels, most frequent first, are tried as sources; targets are all. Cost: one pass of the head a
    source. InputError: the model has no head.
    """
    if not isinstance(model, Model) or len(model.head.blocks) == 0:
        raise InputError("influence: this model has no correlation head")
    count, sources = whole(count, "count"), whole(sources, "sources")
    frequency = torch.from_numpy(model.labels.frequency)
    tried = frequency.argsort(descending=True, stable=True)[:sources].to(model.device)
    size = max(1, min(256, LOGITS // model.num_labels))
    found: list[Influence] = []
    with torch.inference_mode():
        empty_L = model.decoder(model.encoder(model.encode([""])))[0]
        usual_L = model.head(empty_L[None])[0]
        for part in tried.split(size):
            raised = empty_L.repeat(len(part), 1)
            rows = torch.arange(len(part), device=part.device)
            raised[rows, part] = CERTAIN
            change = model.head(raised) - usual_L
            change[rows, part] = 0  # its own rise is no influence
            values, places = change.abs().flatten().topk(min(count, change.numel()))
            for place, value in zip(places.tolist(), values.tolist(), strict=True):
                row, target = divmod(place, model.num_labels)
                if value > 0:
                    found.append(Influence(int(part[row]), target, float(change[row, target])))
            found = sorted(found, key=lambda one: (-abs(one.logits), one.source, one.target))[:count]
    return found


def table(model: Model, influences: Sequence[Influence]) -> str:
    """Markdown."""
    lines = ["| if this is certain | then this | logit |", "|---|---|---:|"]
    for one in influences:
        both = (model.labels[one.source], model.labels[one.target])
        source, target = (f"{label.name} [{label.id}]".replace("|", "\\|") for label in both)
        lines.append(f"| {source} | {target} | {one.logits:+.2f} |")
    return "\n".join(lines) + "\n"


def write_csv(model: Model, influences: Sequence[Influence], path: Path) -> None:
    with replaced(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        sides = [f"{side}{what}" for side in ("source", "target") for what in ("", "_name", "_frequency")]
        writer.writerow([*sides, "logits"])
        for one in influences:
            source, target = model.labels[one.source], model.labels[one.target]
            writer.writerow([source.id, source.name, source.frequency, target.id, target.name, target.frequency,
                             f"{one.logits:.4f}"])  # fmt: skip


def draw(model: Model, influences: Sequence[Influence], path: Path) -> None:
    """A PNG: an arrow an influence, green where it raises and red where it lowers, as wide as it is strong.

    InputError if networkx or matplotlib is missing.
    """
    try:
        import networkx
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("the graph needs networkx and matplotlib: pip install 'xmtc[explain]'") from None
    graph = networkx.DiGraph()
    for one in influences:
        graph.add_edge(one.source, one.target, logits=one.logits)
    most = max((abs(one.logits) for one in influences), default=1.0)
    groups = networkx.community.greedy_modularity_communities(graph.to_undirected()) if len(graph) else []
    # on a circle, labels that influence each other side by side, nothing covers a name
    places = networkx.circular_layout([node for group in groups for node in sorted(group)])
    figure = Figure(figsize=(12, 12), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(-1.6, 1.6)
    axes.set_ylim(-1.6, 1.6)
    logits = [graph.edges[edge]["logits"] for edge in graph.edges]
    networkx.draw_networkx_edges(
        graph, places, ax=axes, arrowsize=12, node_size=300, connectionstyle="arc3,rad=0.1",
        width=[0.5 + 3 * abs(value) / most for value in logits],
        edge_color=["#2a7f3f" if value > 0 else "#b03030" for value in logits],
    )  # fmt: skip
    networkx.draw_networkx_nodes(graph, places, ax=axes, node_size=60, node_color="#4a5568")
    for node, (x, y) in places.items():
        angle, left = math.degrees(math.atan2(y, x)), x < 0
        axes.text(1.04 * x, 1.04 * y, _short(model.labels[node].name), fontsize=8, va="center", rotation_mode="anchor",
                  ha="right" if left else "left", rotation=angle + 180 if left else angle)  # fmt: skip
    axes.set_title(f"The {len(influences)} strongest influences of one label on another (at most {most:.2f} logits)")
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _short(name: str) -> str:
    name = name.replace("$", r"\$")  # matplotlib would read mathematics
    return name if len(name) <= 32 else f"{name[:31]}…"
