"""Two ways of doing the same thing, measured side by side in one process: `python -m xmtc.bench NAME`."""
