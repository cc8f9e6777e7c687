"""A BERT of a few thousand weights with a word-level tokenizer, as a folder that looks like one from the hub."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xmtc.data.vocabulary import Vocabulary

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def tiny_bert(folder: Path, words: int = 40, size: int = 16, layers: int = 2, positions: int = 24) -> Path:
    """Words are w0 ... Weights are random and large enough for every term to show."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *(f"w{i}" for i in range(words))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=size, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=2 * size, max_position_embeddings=positions, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1234)  # of no test
        BertModel(config).save_pretrained(folder)
    return folder


def tiny_vocabulary(folder: Path, words: int = 40) -> Vocabulary:
    """What a store knows of `tiny_bert`'s tokens, `folder` standing for its `text/`."""
    size = words + len(SPECIAL)
    return Vocabulary(size, np.ones(size, np.int64), 10, folder, padding=0, unknown=1)
