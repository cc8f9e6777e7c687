"""A correlation head for any classifier: `xmtc.attach_head(model, num_labels)`.

The head becomes a submodule named `correlation_head` and a forward hook passes the model's logits through it. The model
keeps its class, so `state_dict`, `save_pretrained`, optimisers, DDP and Hugging Face's Trainer know nothing new. It
starts as the identity: the model answers as before until training moves the head.

    model = AutoModelForSequenceClassification.from_pretrained(NAME, num_labels=L, problem_type=...)
    xmtc.attach_head(model, L)                           # train as usual; model.save_pretrained(FOLDER)
    model = AutoModelForSequenceClassification.from_pretrained(FOLDER)
    xmtc.attach_head(model, weights=FOLDER)              # the head's settings come from the model's configuration
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xmtc.errors import InputError
from xmtc.given import whole
from xmtc.heads.block import CorrelationBlock, CorrelationHead, FullBlock
from xmtc.heads.cornet import CorNet
from xmtc.heads.lcenet import LCENet
from xmtc.parsing import read_json

NAME = "correlation_head"
HEADS = {"lcenet": LCENet, "cornet": CorNet}
FILES = ("model.safetensors", "pytorch_model.bin")


def attach_head(
    model: nn.Module,
    num_labels: int | None = None,
    head: str | CorrelationHead = "lcenet",
    weights: str | Path | Mapping[str, Tensor] | None = None,
    **options: Any,
) -> nn.Module:
    """Attaches a head to `model`, in place, and returns the model.

    model: its forward gives logits (..., num_labels) as a tensor, in a tuple, or under `logits` (as Hugging Face does;
    if `labels` are passed to it and it gives a loss, that becomes the loss of the enhanced logits: of a Hugging Face
    sequence classifier its own, of any other binary cross-entropy). num_labels: may be left out where the model's
    configuration tells. head: "lcenet" (one block, R = 512 or L), "cornet" (two blocks), or one of your own; options:
    its settings (rank, blocks, ...), not those that need training labels. weights: a folder of `save_pretrained`, a
    file, or a state dict from which to take the head's parameters. Cost: 4 B R L operations and 2RL + R + L parameters
    a block.

    Raises InputError: a head is attached already, there is no such head, the weights do not fit.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"attach_head: model: expected a torch.nn.Module, got {model!r:.60}")
    if not isinstance(head, str | CorrelationHead):
        raise InputError(f"attach_head: head: expected {', '.join(HEADS)} or a CorrelationHead, got {head!r:.60}")
    if weights is not None and not isinstance(weights, str | Path | Mapping):
        raise InputError(f"attach_head: weights: expected a folder, a file or a state dict, got {weights!r:.60}")
    if hasattr(model, NAME):
        raise InputError("attach_head: the model has a head already")
    saved = getattr(getattr(model, "config", None), NAME, None)
    if isinstance(saved, Mapping) and isinstance(head, str) and weights is not None:
        head, num_labels, options = saved["head"], saved["num_labels"], {**saved["options"], **options}
    if num_labels is None:
        num_labels = getattr(getattr(model, "config", None), "num_labels", None)
    num_labels = whole(num_labels, "attach_head: num_labels")
    options = {name: value.item() if isinstance(value, np.generic) else value for name, value in options.items()}
    made = head if isinstance(head, CorrelationHead) else _make(head, num_labels, options)
    if not isinstance(head, CorrelationHead):
        if weights is None and (options.get("centred") or options.get("start", "random") != "random"):
            raise InputError(
                "attach_head: centred and start=cooccurrence follow from training labels, which it is not told; make"
                " the head yourself, call its prepare(labels, log_odds) and attach that"
            )
        start_as_identity(made)
    if weights is not None:  # before the model is changed: with weights that do not fit it stays as it was
        try:
            made.load_state_dict(_head_weights(weights))
        except RuntimeError as error:
            first = str(error).strip().splitlines()[1:2] or [str(error)]
            raise InputError(f"attach_head: the weights do not fit the head: {first[0].strip()[:200]}") from None
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    made = made if like is None else made.to(like.device, like.dtype)
    model.add_module(NAME, made.train(model.training))
    made.num_labels = num_labels
    if isinstance(head, str) and hasattr(model, "config"):
        setattr(model.config, NAME, {"head": head, "num_labels": num_labels, "options": options})
    model.register_forward_hook(_enhance, with_kwargs=True)
    return model


def start_as_identity(head: CorrelationHead) -> None:
    """Zeros what the blocks add. A block without its residual cannot be the identity: InputError."""
    for block in head.blocks:
        if not isinstance(block, CorrelationBlock | FullBlock) or not block.residual:
            raise InputError("attach_head: a head without residual=true cannot start as the identity; pass it as made")
        names = ("spread_weight", "spread_bias") if isinstance(block, CorrelationBlock) else ("weight", "bias")
        for name in names:
            nn.init.zeros_(getattr(block, name))


def _make(name: str, num_labels: int, options: dict) -> CorrelationHead:
    if name not in HEADS:
        raise InputError(f"attach_head: head={name}: unknown choice; choose from {', '.join(HEADS)}")
    from xmtc.config.check import check_node  # brings Hydra along

    kind = HEADS[name]
    check_node({"_target_": f"{kind.__module__}.{kind.__qualname__}", **options}, "attach_head")
    defaults = {"rank": min(512, num_labels)} | ({"blocks": 1} if name == "lcenet" else {})
    return kind(num_labels, **(defaults | options))


def _enhance(model: nn.Module, arguments: tuple, keywords: dict, output: Any) -> Any:
    """The forward hook. It looks the head up, so that it also serves a copy of the model."""
    head = getattr(model, NAME)
    if isinstance(output, Tensor):
        return _enhanced(output, head)
    labels = _labels(model, arguments, keywords)
    if isinstance(output, MutableMapping) and "logits" in output:
        output["logits"] = enhanced = _enhanced(output["logits"], head)
        if labels is not None and output.get("loss") is not None:
            output["loss"] = _loss(model, head, enhanced, labels, output["loss"])
        return output
    if isinstance(output, tuple):
        place = 1 if labels is not None and len(output) > 1 and output[0].ndim == 0 else 0  # (loss, logits, ...)
        enhanced = _enhanced(output[place], head)
        loss = (_loss(model, head, enhanced, labels, output[0]),) if place else ()
        changed = (*loss, enhanced, *output[place + 1 :])
        return type(output)(*changed) if hasattr(output, "_fields") else changed
    raise InputError(
        f"attach_head: expected logits as a tensor, in a tuple or under 'logits', got {type(output).__name__}"
    )


def _labels(model: nn.Module, arguments: tuple, keywords: dict) -> Tensor | None:
    """What the model was given as `labels`, by name or by place."""
    if "labels" in keywords or not arguments:
        return keywords.get("labels")
    return dict(zip(inspect.signature(model.forward).parameters, arguments, strict=False)).get("labels")


def _loss(model: nn.Module, head: CorrelationHead, enhanced: Tensor, labels: Tensor, raw_loss: Tensor) -> Tensor:
    if getattr(model, "loss_type", None) == "ForSequenceClassification":  # the model's own, on the enhanced logits
        loss = model.loss_function(labels=labels, pooled_logits=enhanced, config=model.config)
    else:
        loss = nn.functional.binary_cross_entropy_with_logits(enhanced, labels.to(enhanced.dtype))
    return loss + head.raw_loss_weight * raw_loss if head.raw_loss_weight else loss


def _enhanced(logits: Tensor, head: CorrelationHead) -> Tensor:
    if not isinstance(logits, Tensor) or logits.shape[-1:] != (head.num_labels,):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"attach_head: expected logits (..., {head.num_labels}), got {found}")
    return head(logits.reshape(-1, head.num_labels)).reshape(logits.shape)


def _head_weights(weights: str | Path | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The head's parameters, by their names in the head."""
    state: dict[str, Tensor] = dict(weights) if isinstance(weights, Mapping) else {}
    for path in [] if isinstance(weights, Mapping) else _files(Path(weights)):
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, "pt") as file:
                names = [name for name in file.keys() if f"{NAME}." in name]
                state |= {name: file.get_tensor(name) for name in names}
        else:
            state |= torch.load(path, map_location="cpu", weights_only=True)
    found = {name.split(f"{NAME}.", 1)[1]: value for name, value in state.items() if f"{NAME}." in name}
    if not found:
        raise InputError(f"attach_head: no {NAME} in {'the state dict' if isinstance(weights, Mapping) else weights}")
    return found


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    index = place / "model.safetensors.index.json"
    if index.exists():  # a large model in several files
        mapped = read_json(index, dict).get("weight_map")
        if not isinstance(mapped, dict) or not all(isinstance(name, str) for name in mapped.values()):
            raise InputError(f"attach_head: {index} has no weight_map of file names")
        names = {Path(file).name for key, file in mapped.items() if f"{NAME}." in key}  # of files in the same folder
        return [place / name for name in sorted(names)]
    found = [place / name for name in FILES if (place / name).exists()]
    if not found:
        raise InputError(f"attach_head: {place} has none of {', '.join(FILES)}")
    return found[:1]
