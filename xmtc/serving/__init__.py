"""A trained run behind HTTP: batching, limits, answers, page. `python -m xmtc.serve` composes them."""
