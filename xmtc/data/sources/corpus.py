"""A named corpus, in whichever layout its folder is: one corpus has often been handed out in several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xmtc.data.sources.base import Source
from xmtc.data.sources.eurlex57k import Eurlex57kSource
from xmtc.data.sources.folder import FolderSource
from xmtc.data.sources.hedwig import HedwigSource
from xmtc.data.sources.labelcorank import LabelCoRankSource
from xmtc.data.sources.laco import LacoSource
from xmtc.data.sources.match import MatchSource
from xmtc.data.sources.part_files import require_folder
from xmtc.data.sources.pecos import PecosSource
from xmtc.data.sources.sgm import SgmSource
from xmtc.data.sources.xml_repository import BagOfWordsSource, RawXmlRepositorySource
from xmtc.errors import InputError

LAYOUTS: dict[str, type[Source]] = {
    "folder": FolderSource,
    "pecos": PecosSource,
    "xml_repository": RawXmlRepositorySource,
    "bag_of_words": BagOfWordsSource,
    "match": MatchSource,
    "laco": LacoSource,
    "sgm": SgmSource,
    "hedwig": HedwigSource,
    "labelcorank": LabelCoRankSource,
    "eurlex57k": Eurlex57kSource,
}


class CorpusSource(Source):
    """path: the folder. layouts: those it may be in, the first that it is in is read; null: any. options: layout ->
    arguments of its reader. name: of the registered corpus, told with how to get it when the folder is missing."""

    def __init__(
        self,
        path: str,
        layouts: Sequence[str] | None = None,
        options: dict[str, Any] | None = None,
        name: str | None = None,
    ):
        self.path, self.name, self.options = Path(path).expanduser(), name, dict(options or {})
        self.layouts = list(LAYOUTS if layouts is None else layouts)
        for layout in [*self.layouts, *self.options]:
            if layout not in LAYOUTS:
                raise InputError(f"dataset.source.layouts: {layout}: unknown layout, choose from {', '.join(LAYOUTS)}")
        self._reader: Source | None = None

    def layout(self) -> str | None:
        """The layout that the folder is in; null if in none of those it may be in."""
        there = self.path.is_dir()
        return next((layout for layout in self.layouts if there and LAYOUTS[layout].present(self.path)), None)

    def reader(self) -> Source:
        if self._reader is None:
            layout = self.layout()
            if layout is None:
                require_folder(self.path, self._advice())
                if len(self.layouts) > 1:
                    raise InputError(
                        f"{self.path}: expected a corpus in one of the layouts {', '.join(self.layouts)}, found none; "
                        f"docs/own-data.md says what files they are{self._advice()}"
                    )
            layout = layout or self.layouts[0]  # whose reader says what is missing
            self._reader = LAYOUTS[layout](str(self.path), **self.options.get(layout, {}))
        return self._reader

    def _advice(self) -> str:
        return f"; python -m xmtc.data download {self.name} gets it or says how to" if self.name else ""

    def parts(self) -> list[str]:
        return self.reader().parts()

    def documents(self, part: str) -> Iterator[tuple[str, list[str]]]:
        return self.reader().documents(part)

    def files(self) -> list[Path]:
        return self.reader().files()

    def name_files(self) -> list[Path]:
        return self.reader().name_files()

    def fingerprint(self) -> dict:
        return self.reader().fingerprint()

    def label_names(self) -> dict[str, str]:
        return self.reader().label_names()

    def label_parents(self) -> dict[str, list[str]]:
        return self.reader().label_parents()
