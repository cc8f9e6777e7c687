"""The progress bar: documents a second and memory beside Lightning's time left."""

from __future__ import annotations

from pytorch_lightning.callbacks import RichProgressBar

from xmtc.training.record import Record, peak_memory_bytes


class Progress(RichProgressBar):
    def get_metrics(self, trainer, module):
        metrics = super().get_metrics(trainer, module)
        metrics.pop("v_num", None)
        record = next(c for c in trainer.callbacks if isinstance(c, Record))
        shown = {k: v for k, v in metrics.items() if k in ("val/P@1", "val/nDCG@5")}
        rate = f"{record.documents_per_second:.0f}"
        return shown | {"documents/s": rate, "GiB": f"{peak_memory_bytes() / 2**30:.1f}"}
