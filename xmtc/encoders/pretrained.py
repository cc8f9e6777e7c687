"""The pretrained layers of `transformer`, `labelcorank`, `laco`, `seqtag` and `gudn`: loaded, frozen, adapted, kept.

Loading: in a run directory the architecture lies in `text/encoder.json`, and the weights come from the checkpoint; else
both come from `name`. Everything is float32.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xmtc.data.pretrained import from_pretrained
from xmtc.data.vocabulary import Vocabulary
from xmtc.encoders.dropout import cheap_dropout
from xmtc.encoders.windows import special_tokens
from xmtc.errors import InputError
from xmtc.parsing import read_json

KEPT = "encoder.json"


class Backbone(nn.Module):
    """ids (N, W), mask (N, W) -> hidden states (N, W, D) and, with `pooler`, pooled (N, D). Arguments: `Transformer`.

    size: D. before, behind: special tokens around a text. factors: learning-rate factors by parameter.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        name: str,
        pretrained: bool = True,
        pooler: bool = False,
        lr_factor: float = 1.0,
        layer_decay: float = 1.0,
        freeze: int | Literal["none", "embeddings", "all"] = "none",
        lora: int = 0,
        checkpointing: bool = False,
        attention: str | None = None,
        offline: bool = False,
    ):
        super().__init__()
        if lr_factor <= 0 or not 0 < layer_decay <= 1:
            raise InputError("encoder: expected lr_factor above 0 and layer_decay above 0 and at most 1")
        self.before, self.behind = _special(vocabulary)
        self.model = _model(vocabulary, name, pretrained, attention, offline)
        config = self.model.config
        if config.is_encoder_decoder:
            raise InputError(f"encoder.name={name}: has an encoder and a decoder; expected an encoder such as BERT")
        if vocabulary.size > self.model.get_input_embeddings().num_embeddings:
            raise InputError(f"encoder.name={name}: encoder.text.name is another model's tokenizer, its ids do not fit")
        self.size = config.hidden_size
        self.padding = vocabulary.padding if config.pad_token_id is None else config.pad_token_id
        if not pooler and hasattr(self.model, "pooler"):
            self.model.pooler = None
        elif pooler and getattr(self.model, "pooler", None) is None:
            raise InputError(
                f"encoder.name={name}: has no pooler; take a model that has one, or do without it: "
                "encoder.pooling=cls (encoder=transformer), encoder.guide=0 (encoder=gudn)"
            )
        layers = _layers(self.model, config.num_hidden_layers)
        depths = _depths(self.model, layers)
        self.frozen = _freeze(self.model, depths, layers, freeze)
        if lora:
            _adapt(self.model, lora)
        top = len(layers)
        self.factors = {
            p: lr_factor * layer_decay ** (top - depths.get(id(p), top))
            for p in self.model.parameters()
            if p.requires_grad
        }
        if lora:  # small matrices that start at zero: they want the rate of new layers
            self.factors = {}
        if checkpointing:
            # its name from transformers 5.2x on, and before
            start = getattr(self.model, "activation_checkpointing_enable", self.model.gradient_checkpointing_enable)
            start({"use_reentrant": False})
        self.checkpointing = checkpointing
        self.train()  # weights that were loaded come in evaluation mode

    def forward(self, ids_NW: Tensor, mask_NW: Tensor) -> tuple[Tensor, Tensor | None]:
        with self._dropout(ids_NW.device):
            answer = self.model(input_ids=ids_NW, attention_mask=mask_NW.long(), return_dict=True)
        return answer.last_hidden_state, getattr(answer, "pooler_output", None)

    def firsts(self, ids_NW: Tensor, mask_NW: Tensor, count: int) -> tuple[Tensor, Tensor | None]:
        """(N, count D): the first position behind each of the last `count` layers, the last one first; and pooled."""
        with self._dropout(ids_NW.device):
            answer = self.model(
                input_ids=ids_NW, attention_mask=mask_NW.long(), return_dict=True, output_hidden_states=True
            )
        layers = answer.hidden_states[: -count - 1 : -1]
        return torch.cat([hidden_NWD[:, 0] for hidden_NWD in layers], -1), getattr(answer, "pooler_output", None)

    def embedded(self, vectors_NWD: Tensor, mask_NW: Tensor, **more: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `forward`, from word vectors in place of ids."""
        with self._dropout(vectors_NWD.device):
            answer = self.model(inputs_embeds=vectors_NWD, attention_mask=mask_NW.long(), return_dict=True, **more)
        return answer.last_hidden_state, getattr(answer, "pooler_output", None)

    def _dropout(self, device: torch.device) -> contextlib.AbstractContextManager:
        """Cheaper where there is something to drop, and no layer is run a second time for its gradient."""
        return cheap_dropout(device) if self.training and not self.checkpointing else contextlib.nullcontext()

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def room(self, asked: int | None, key: str) -> int | None:
        """Tokens of a text that fit at once; None if the model has no limit."""
        most = _positions(self.model)
        most = None if most is None else most - len(self.before) - len(self.behind)
        if asked is not None and (asked < 1 or most is not None and asked > most):
            raise InputError(f"{key}: expected 1 to {most} tokens, as the model has positions, or null; got {asked}")
        return asked if asked is not None else most

    def keep(self, folder: Path) -> None:
        """The architecture, so that the run directory can be used without `name`."""
        temporary = folder / f".{KEPT}.tmp"
        temporary.write_text(self.model.config.to_json_string(use_diff=False), encoding="utf-8")
        os.replace(temporary, folder / KEPT)


def _special(vocabulary: Vocabulary) -> tuple[tuple[int, ...], tuple[int, ...]]:
    definition = vocabulary.folder / "tokenizer.json" if vocabulary.folder else None
    if definition is None or not definition.is_file():
        raise InputError("encoder.text: a pretrained encoder needs the tokenizer of its model (text=huggingface)")
    return special_tokens(definition)


def _model(vocabulary: Vocabulary, name: str, pretrained: bool, attention: str | None, offline: bool) -> Any:
    from transformers import AutoConfig, AutoModel

    options = {"dtype": torch.float32} | ({"attn_implementation": attention} if attention else {})
    kept = vocabulary.folder / KEPT
    try:
        if kept.is_file():
            facts = read_json(kept, dict)
            return AutoModel.from_config(AutoConfig.for_model(facts.pop("model_type"), **facts), **options)
        if not pretrained:
            config = from_pretrained(AutoConfig, name, "encoder.name", offline)
            return AutoModel.from_config(config, **options)
    except (KeyError, ValueError, OSError, ImportError) as error:
        raise InputError(f"encoder.name={name}: cannot be built ({str(error).splitlines()[0][:200]})") from error
    return from_pretrained(AutoModel, name, "encoder.name", offline, use_safetensors=True, **options)


def _layers(model: nn.Module, count: int) -> nn.ModuleList:
    """The stack of layers: the first list of modules as long as the configuration says."""
    for part in model.modules():
        if isinstance(part, nn.ModuleList) and len(part) == count:
            return part
    raise InputError(f"encoder.name: found no stack of {count} layers in a {type(model).__name__}")


def _depths(model: nn.Module, layers: nn.ModuleList) -> dict[int, int]:
    """By id of a parameter: 0 for what comes before the layers, i for layer i of n, n for what comes behind."""
    inside = {id(p): i + 1 for i, layer in enumerate(layers) for p in layer.parameters()}
    depths, seen = {}, 0
    for parameter in model.parameters():
        depths[id(parameter)] = seen = inside.get(id(parameter), 0 if not seen else len(layers))
    return depths


def _freeze(model: nn.Module, depths: dict[int, int], layers: nn.ModuleList, freeze: int | str) -> list[nn.Module]:
    """Stops gradients up to the depth asked for and returns the modules that stay in evaluation mode."""
    if isinstance(freeze, bool) or freeze not in ("none", "embeddings", "all") and not isinstance(freeze, int):
        raise InputError(f"encoder.freeze: expected none, embeddings, all or a number of layers, got {freeze}")
    if isinstance(freeze, int) and not 0 <= freeze <= len(layers):
        raise InputError(f"encoder.freeze: the model has {len(layers)} layers, got {freeze}")
    if freeze == "none":
        return []
    if freeze == "all":
        model.requires_grad_(False)
        return [model]
    depth = 0 if freeze == "embeddings" else freeze
    for parameter in model.parameters():
        parameter.requires_grad_(depths[id(parameter)] > depth)
    below = [part for part in model.children() if {depths[id(p)] for p in part.parameters()} == {0}]
    return [*below, *layers[:depth]]


def _adapt(model: nn.Module, rank: int) -> None:
    if importlib.util.find_spec("peft") is None:
        raise InputError("encoder.lora: needs the package peft (pip install 'xmtc[lora]')")
    from peft import LoraConfig, inject_adapter_in_model

    # scaling 2: the updates are as large as those of the weights that they stand for at twice the rank
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", bias="none")
    inject_adapter_in_model(settings, model)


def _positions(model: nn.Module) -> int | None:
    """Rows of an absolute position table that texts can use, or what the configuration says of rotary ones."""
    for name, part in model.named_modules():
        if isinstance(part, nn.Embedding) and name.endswith("position_embeddings"):
            # RoBERTa counts from the row behind its padding's
            return part.num_embeddings - (0 if part.padding_idx is None else part.padding_idx + 1)
    return getattr(model.config, "max_position_embeddings", None)
