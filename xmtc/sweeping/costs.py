"""What a job of a sweep will take where nothing like it was run yet: built, and tried for a few steps; where its corpus
is not here, its memory from the counts of the corpus' card."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmtc.errors import InputError
from xmtc.sweeping.devices import processes
from xmtc.sweeping.settings import that_matter

# a step and its memory do not depend on them
FREE = ("seed", "data.fraction", "recipe.prior_bias", "recipe.max_epochs", "trainer.max_epochs", "trainer.max_steps")


@dataclass(frozen=True)
class Cost:
    """step: seconds, null where only the card is known, and why. peak: bytes. documents: of the training part."""

    step: float | None
    peak: int
    documents: int
    why: str | None = None

    def steps(self, config: dict[str, Any]) -> int:
        """Of all epochs, each of the job's processes with its own documents."""
        return self._steps_and_batches(config)[0]

    def hours(self, config: dict[str, Any]) -> float | None:
        """Of all epochs; evaluations and an early end are not counted."""
        return None if self.step is None else self.step * self._steps_and_batches(config)[1] / 3600

    def _steps_and_batches(self, config: dict[str, Any]) -> tuple[int, int]:
        from xmtc.data.datamodule import count_of

        trainer, data = config["trainer"], config["data"]
        count = count_of(data.get("fraction", 1.0), self.documents)
        each = math.ceil(min(count, data["limit"] or count) / (data["batch_size"] * processes(trainer)))
        epochs = trainer.get("max_epochs") or config["recipe"]["max_epochs"]
        together = trainer.get("accumulate_grad_batches") or 1  # batches of a step; an epoch's last may have fewer
        steps, most = math.ceil(each / together) * epochs, trainer.get("max_steps") or -1
        steps = steps if most < 0 else min(steps, most)
        return steps, min(each * epochs, steps * together)


class Costs:
    """`of(config)`: the cost of a composed job, or why there is none: its store is not prepared yet and there is no
    card, it has no steps (a fitted system), or it cannot be built from what lies here. Jobs that differ in what a step
    does not depend on are tried once: it takes seconds to a minute each, told on stderr, and Ctrl-C leaves the rest
    unknown."""

    def __init__(self):
        self._known: dict[str, Cost | str] = {}
        self._stopped = False
        self._base: int | None = None  # bytes of a process that has only begun

    def of(self, config: dict[str, Any]) -> Cost | str:
        key = json.dumps({k: v for k, v in that_matter(config).items() if k not in FREE}, default=str, sort_keys=True)
        if key not in self._known and not self._stopped:
            try:
                self._known[key] = self._tried(config)
            except InputError as error:
                self._known[key] = str(error)
            except KeyboardInterrupt:
                self._stopped = True
        return self._known.get(key, "stopped")

    def _tried(self, config: dict[str, Any]) -> Cost | str:
        import pytorch_lightning as pl

        from xmtc.config.make import make
        from xmtc.data.acquire import corpus_of
        from xmtc.data.cards import card_of
        from xmtc.data.preparation import is_prepared
        from xmtc.data.pretrained import hub_unasked
        from xmtc.data.sources.subset import make_source
        from xmtc.estimating.card import documents_of, needs_from_card
        from xmtc.estimating.run import needs, timed_seconds
        from xmtc.fitted.base import is_fitted
        from xmtc.training.build import build
        from xmtc.training.record import resident_bytes

        self._base = self._base or resident_bytes()
        if is_fitted(config["encoder"]):
            return "a fitted system has no steps that could be tried"
        source, name = make_source(config["dataset"]), config["dataset"]["name"]
        with hub_unasked():
            card = card_of(config["dataset"]) if corpus_of(source) else None
            text = make(config["encoder"]["text"])
            why = f"{name} is not prepared for this encoder (`python -m xmtc.prepare`)"
            try:
                prepared = is_prepared(source, name, text, Path(config["paths"]["cache_dir"]))
            except InputError as error:
                if card is None:
                    raise
                prepared, why = False, str(error)
            if not prepared and card is None:
                return why
            print(f"estimating {name} (number {len(self._known) + 1}; Ctrl-C leaves the rest unknown)", file=sys.stderr)
            if not prepared:
                try:
                    peak = needs_from_card(config, card, self._base).peak
                except InputError as error:
                    return f"{error}; {why}"
                return Cost(None, peak, documents_of(card, config), why)
            pl.seed_everything(config["seed"], workers=True, verbose=False)
            built = build(config | {"data": config["data"] | {"fraction": 1.0}})
            peak = needs(built, config).peak
            return Cost(timed_seconds(built, config)["step"], peak, len(built.data.train))
