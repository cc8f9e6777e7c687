"""xmtc: extreme multi-label text classification, any encoder x correlation head x dataset."""
