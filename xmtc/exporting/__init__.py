"""A trained run in other people's formats: safetensors, ONNX, Annif. `python -m xmtc.export` composes them."""
