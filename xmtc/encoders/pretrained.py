"""The pretrained layers of `transformer`, `labelcorank`, `laco`, `seqtag` and `gudn`: loaded, frozen, adapted, kept.

Loading: in a run directory the architecture lies in `text/encoder.json`, and the weights come from the checkpoint; else
both come from `name`. Everything is float32. What the checkpoint of `name` lacks is refused, but for a pooler: where
there is none, in the weights or in the architecture, a new layer takes its place.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xmtc.data.files import replace_text
from xmtc.data.pretrained import from_pretrained
from xmtc.data.vocabulary import Vocabulary
from xmtc.encoders.dropout import cheap_dropout
from xmtc.encoders.windows import special_tokens
from xmtc.errors import InputError
from xmtc.parsing import read_json

KEPT = "encoder.json"
NEW_POOLER = "new_pooler"  # in it: the weights came without the pooler that the architecture has
UNREACHED = ("mask_emb", "seg_embed", "r_s_bias")  # XLNet's, of masked words and segments, which no text here has
LORA_SCALE = 2  # the updates are as large as those of the weights that they stand for at twice the rank

log = logging.getLogger(__name__)


class Backbone(nn.Module):
    """ids (N, W), mask (N, W) -> hidden states (N, W, D) and, with `pooler`, pooled (N, D). Arguments: `Transformer`.

    size: D. before, behind: special tokens around a text. factors: learning-rate factors by parameter. pooler: a new
    Linear, its tanh applied here, where one is asked for and the model has none; never frozen, of factor 1.
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
        own = getattr(self.model, "pooler", None) is not None and not getattr(config, NEW_POOLER, False)
        if hasattr(self.model, "pooler") and not (pooler and own):
            self.model.pooler = None
        self.pooler = nn.Linear(self.size, self.size) if pooler and not own else None
        if self.pooler is not None and not (vocabulary.folder / KEPT).is_file():
            log.warning("encoder.name=%s: has no pooler in its weights; a new one is trained in its place", name)
        if lora and freeze != "none":
            raise InputError(f"encoder.lora={lora} freezes all else: encoder.freeze must be none, got {freeze}")
        if lora:
            _adapt(self.model, lora)
        by_layer = freeze not in ("none", "all") or layer_decay < 1
        layers = _layers(self.model, config.num_hidden_layers) if by_layer else nn.ModuleList()
        depths = _depths(self.model, layers)
        self.frozen = _freeze(self.model, depths, layers, freeze)
        for name, weight in self.model.named_parameters():
            weight.requires_grad &= not name.endswith(UNREACHED)  # several processes would wait for their gradients
        rate = 1.0 if lora else lr_factor  # small matrices that start at zero want the rate of new layers
        self.factors = {
            p: rate * layer_decay ** max(len(layers) - depths[id(p)], 0)
            for p in self.model.parameters()
            if p.requires_grad
        }
        if checkpointing:
            # its name from transformers 5.2x on, and before
            start = getattr(self.model, "activation_checkpointing_enable", self.model.gradient_checkpointing_enable)
            try:
                start({"use_reentrant": False})
            except ValueError as error:
                raise InputError(f"encoder.checkpointing: not with encoder.name={name} ({error})") from error
        self.first_sees_all = "global_attention_mask" in inspect.signature(self.model.forward).parameters
        self.checkpointing = checkpointing
        self.train()  # weights that were loaded come in evaluation mode

    def forward(self, ids_NW: Tensor, mask_NW: Tensor) -> tuple[Tensor, Tensor | None]:
        answer, pooled_ND = self._read(mask_NW, input_ids=ids_NW)
        return answer.last_hidden_state, pooled_ND

    def firsts(self, ids_NW: Tensor, mask_NW: Tensor, count: int) -> tuple[Tensor, Tensor | None]:
        """(N, count D): the first position behind each of the last `count` layers, the last one first; and pooled."""
        answer, pooled_ND = self._read(mask_NW, input_ids=ids_NW, output_hidden_states=True)
        layers = answer.hidden_states[: -count - 1 : -1]
        return torch.cat([hidden_NWD[:, 0] for hidden_NWD in layers], -1), pooled_ND

    def embedded(self, vectors_NWE: Tensor, mask_NW: Tensor, **more: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `forward`, from word vectors in place of ids; E is the width of the model's word table."""
        answer, pooled_ND = self._read(mask_NW, inputs_embeds=vectors_NWE, **more)
        return answer.last_hidden_state, pooled_ND

    def _read(self, mask_NW: Tensor, **text: Any) -> tuple[Any, Tensor | None]:
        """The model's answer; and pooled, by its own layer or the new one."""
        if self.first_sees_all:  # Longformer: [CLS] sees and is seen by every position, the others those near them
            text["global_attention_mask"] = torch.zeros_like(mask_NW, dtype=torch.int64)
            text["global_attention_mask"][:, :1] = 1
        with self._dropout(mask_NW.device):
            answer = self.model(attention_mask=mask_NW.long(), return_dict=True, **text)
        if self.pooler is not None:
            return answer, torch.tanh(self.pooler(answer.last_hidden_state[:, 0]))
        return answer, getattr(answer, "pooler_output", None)

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

    def learning_rate_factors(self) -> Mapping[nn.Parameter, float]:
        return self.factors

    def keep(self, folder: Path) -> None:
        """The architecture, so that the run directory can be used without `name`."""
        replace_text(folder / KEPT, self.model.config.to_json_string(use_diff=False))


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
    options |= {"use_safetensors": True, "output_loading_info": True}
    model, told = from_pretrained(AutoModel, name, "encoder.name", offline, **options)
    lost = sorted(told["missing_keys"])  # the library gives them random values and says so in a warning
    if core := [key for key in lost if not key.startswith("pooler.")]:
        raise InputError(
            f"encoder.name={name}: its checkpoint lacks {len(core)} of {len(model.state_dict())} tensors of a"
            f" {type(model).__name__} ({core[0]}{', ...' if core[1:] else ''}); encoder.pretrained=false starts from"
            " random weights"
        )
    if lost:
        setattr(model.config, NEW_POOLER, True)
    return model


def _layers(model: nn.Module, count: int) -> nn.ModuleList:
    """The stack of layers: the first list of modules as long as the configuration says. Some have none that could be
    told apart, as ALBERT, whose layers share their weights."""
    for part in model.modules():
        if isinstance(part, nn.ModuleList) and len(part) == count:
            return part
    raise InputError(
        f"encoder.name: found no stack of {count} layers in a {type(model).__name__}, so encoder.layer_decay must be 1"
        " and encoder.freeze none or all"
    )


def _depths(model: nn.Module, layers: nn.ModuleList) -> dict[int, int]:
    """By id of a parameter: 0 for embeddings and what comes before the layers, i for layer i of n, n + 1 for what comes
    behind, such as a pooler. Without layers all 0."""
    inside = {id(p): i + 1 for i, layer in enumerate(layers) for p in layer.parameters()}
    tables = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    depths, here = {}, 0
    for parameter in model.parameters():
        if id(parameter) in inside:
            here = len(layers) + 1
        depths[id(parameter)] = inside.get(id(parameter), 0 if id(parameter) in tables else here)
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

    settings = LoraConfig(
        r=rank, lora_alpha=LORA_SCALE * rank, lora_dropout=0.0, target_modules="all-linear", bias="none"
    )
    inject_adapter_in_model(settings, model)


def _positions(model: nn.Module) -> int | None:
    """Rows of an absolute position table that texts can use, or what the configuration says of rotary ones."""
    for name, part in model.named_modules():
        if isinstance(part, nn.Embedding) and name.endswith("position_embeddings"):
            # RoBERTa counts from the row behind its padding's
            return part.num_embeddings - (0 if part.padding_idx is None else part.padding_idx + 1)
    told = getattr(model.config, "max_position_embeddings", None)
    return told if told and told > 0 else None  # XLNet says -1: relative positions have no end
