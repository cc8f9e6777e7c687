"""`xmtc.load(RUN_DIR)`: a trained model from its run directory alone, without corpus, store or training code.

Weights are memory-mapped and read when they are first used; nothing is initialised at random first. The label side is
built on PyTorch's meta device, where it costs nothing, and then filled from the file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xmtc.config.check import check_node
from xmtc.config.make import make
from xmtc.config.paths import config_dir
from xmtc.config.values import describe
from xmtc.data.checksums import require_whole
from xmtc.data.embedding import vectors_of
from xmtc.data.reading import TextReader, read_vocabulary
from xmtc.data.vocabulary import Vocabulary
from xmtc.encoders.make import make_encoder
from xmtc.errors import InputError
from xmtc.fitted.base import is_fitted
from xmtc.fitted.tagger import FittedTagger
from xmtc.given import path_of
from xmtc.labels import LabelTable
from xmtc.model import Model
from xmtc.parsing import read_yaml
from xmtc.shortage import is_shortage, said
from xmtc.tagger import Tagger
from xmtc.training.kept import is_whole

WEIGHTS = "model.safetensors"  # of an exported folder


def load(run: str | Path, device: str | torch.device = "cpu", execution: str | None = None) -> Tagger:
    """The model of a run directory, of a checkpoint file in one or of an exported folder, ready to predict, in float32.

    device: where it computes. execution: how decoder and head are run; null: as in training. A folder that
    `xmtc.ensemble` made is loaded with all its members. Raises InputError, in one line, for a folder that is no run, a
    checkpoint that is damaged or does not fit, and files that are missing. Cost: the vocabulary's dictionary, the pages
    of the weights that are touched, about a second of imports.
    """
    given = path_of(run, "run").expanduser()
    usable(device)
    folder, checkpoint = _places(given)
    text = [path.relative_to(folder).as_posix() for path in (folder / "text").glob("**/*")]
    require_whole(folder, ["config.yaml", "labels.tsv", "ensemble.json", WEIGHTS, *text])
    if (folder / "ensemble.json").exists():
        from xmtc.fusion.members import load_ensemble

        return load_ensemble(folder, device, execution)
    config = _configuration(folder, execution)
    vocabulary, width = read_vocabulary(folder / "text")
    labels = LabelTable(folder / "labels.tsv")
    state = _weights(checkpoint)
    try:
        if is_fitted(config["encoder"]):
            return _fitted(folder, config, labels, vocabulary, state)
        parts = _fill(config, vocabulary, len(labels), state)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    encoder = parts["encoder"]
    parts.to(device).eval().requires_grad_(False)
    chosen = make(config["execution"], decoder=parts["decoder"], head=parts["head"], objective=None)
    reader = TextReader(encoder.text, vocabulary, encoder.layout, width if encoder.reads_padding else 1)
    return Model(folder, config, labels, reader, parts, chosen)


def usable(device: str | torch.device) -> None:
    """InputError: no device of that name, or none here."""
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:  # as torch says it, by device
        if is_shortage(error):
            raise
        raise InputError(f"device={device}: cannot be used here ({said(error)}); device=cpu can") from None


def _fitted(
    folder: Path, config: dict, labels: LabelTable, vocabulary: Vocabulary, state: dict[str, Tensor]
) -> FittedTagger:
    check_node(config["encoder"], "encoder")
    model = make(config["encoder"])
    try:
        model.load(state)
    except (KeyError, ValueError) as error:
        raise InputError(f"the checkpoint does not fit the configuration: {error}") from None
    return FittedTagger(folder, config, labels, TextReader(model.text, vocabulary, "bag"), model)


def _places(given: Path) -> tuple[Path, Path]:
    """The run directory and the checkpoint that are meant."""
    if given.is_file():
        if given.suffix != ".ckpt":
            raise InputError(f"{given}: expected a run directory or a .ckpt file in one")
        return given.absolute().parents[1], given
    if not given.is_dir():
        raise InputError(f"{given}: there is no such run directory")
    if (given / "ensemble.json").exists():
        return given, given
    if not (given / "config.yaml").is_file():
        raise InputError(f"{given}: not a run directory (no config.yaml)")
    checkpoint = given / "checkpoints" / "best.ckpt"
    if not checkpoint.is_file() and (given / WEIGHTS).is_file():  # made by xmtc.export
        return given, given / WEIGHTS
    if not checkpoint.is_file():
        raise InputError(f"{given}: no checkpoints/best.ckpt; the run has not been evaluated yet or was not kept whole")
    return given, checkpoint


def _configuration(folder: Path, execution: str | None) -> dict:
    path = folder / "config.yaml"
    config = read_yaml(path, dict)
    missing = [key for key in ("encoder", "head", "execution", "dataset") if key not in config]
    if missing:
        raise InputError(f"{path}: not the configuration of a run (no {', '.join(missing)})")
    for group in ("encoder", "head", "execution"):
        if not isinstance(config[group], dict) or not isinstance(config[group].get("_target_"), str):
            raise InputError(f"{path}: {group}: expected a component with its _target_, got {describe(config[group])}")
    if execution is not None:
        choice = config_dir() / "execution" / f"{execution}.yaml"
        if not choice.is_file():
            choices = sorted(p.stem for p in choice.parent.glob("*.yaml"))
            raise InputError(f"execution={execution}: unknown choice; choose from {', '.join(choices)}")
        from omegaconf import OmegaConf

        config = OmegaConf.to_container(OmegaConf.create(config | {"execution": OmegaConf.load(choice)}), resolve=True)
    return config


def _weights(path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint or of exported weights, memory-mapped."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            what = "out of memory" if is_shortage(error) else "damaged or no safetensors"
            raise InputError(f"{path}: {what} ({said(error)})") from None
    if not is_whole(path):  # flipped bits in a tensor would load as other weights
        raise InputError(
            f"{path}: damaged or no checkpoint of xmtc (its checksum is not in {path.with_name('hashes')})"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # what a damaged pickle makes of its reader is no closed list
        what = "out of memory" if is_shortage(error) else "damaged or no checkpoint of xmtc"
        raise InputError(f"{path}: {what} ({said(error)})") from None
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise InputError(f"{path}: no checkpoint of xmtc (it holds no state_dict)")
    return state


def _fill(config: dict, vocabulary: Vocabulary, num_labels: int, state: dict[str, Tensor]) -> nn.ModuleDict:
    """Encoder, decoder and head with the weights in `state`."""
    for group in ("encoder", "head", "execution"):
        check_node(config[group], group)  # of another version: keys that no longer exist
    label_devices = ("meta", "cpu")  # on the meta device first: a head with buffers of its own needs the second
    for device in label_devices:
        parts = _empty(config, vocabulary, num_labels, device)
        try:
            parts.load_state_dict(state, strict=True, assign=True)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[1:2] or [str(error)]
            raise InputError(f"the checkpoint does not fit the configuration: {first[0].strip()[:200]}") from None
        if not any(tensor.is_meta for tensor in (*parts.parameters(), *parts.buffers())):
            break
    return parts


def _empty(config: dict, vocabulary: Vocabulary, num_labels: int, device: str) -> nn.ModuleDict:
    node = config["encoder"]
    vectors = vectors_of(node)
    for made in vectors.values():  # their files may be gone, and the checkpoint holds the table
        made.table = lambda vocabulary, size=made.size: torch.empty(vocabulary.size, size)
    with _NothingAtRandom():
        encoder = make_encoder(node, vocabulary, num_labels, **vectors)
        with torch.device(device):
            decoder = encoder.make_decoder(num_labels)
            head = make(config["head"], num_labels=num_labels)
    return nn.ModuleDict({"encoder": encoder, "decoder": decoder, "head": head})


class _NothingAtRandom(TorchFunctionMode):
    """Skips random starts: drawing a large table takes seconds and touches all its memory."""

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function in (Tensor.uniform_, Tensor.normal_):
            return args[0]
        return function(*args, **(kwargs or {}))
