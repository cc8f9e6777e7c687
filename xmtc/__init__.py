"""xmtc: extreme multi-label text classification, any encoder x correlation head x dataset."""

__version__ = "0.1.0"


def run(overrides=()):
    """One run from Python: `xmtc.run(["encoder=bow", "head=none"])` returns what its metrics.json holds.

    Raises `xmtc.errors.InputError` for input that cannot be used.
    """
    from xmtc.job import run as run_

    return run_(list(overrides))
