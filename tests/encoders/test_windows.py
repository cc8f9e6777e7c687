"""Rows of a pretrained model against a loop over documents."""

import pytest
import torch

from xmtc.encoders.windows import special_tokens, windows


def slow(texts, before, behind, window, stride):
    window = window or max(len(text) for text in texts)
    stride = stride or window
    rows = []
    for number, text in enumerate(texts):
        start = 0
        while True:
            rows.append((number, [*before, *text[start : start + window], *behind]))
            if start + window >= len(text):
                break
            start += stride
    return rows


@pytest.mark.parametrize("ends", [((2,), (3,)), ((), ()), ((7, 8), ()), ((), (9,))])
@pytest.mark.parametrize("window, stride", [(None, None), (4, None), (4, 3), (1, 1), (50, 50), (5, 5)])
def test_equals_the_loop(ends, window, stride):
    texts = [list(range(20, 31)), [11], [12, 13, 14, 15], [16, 17, 18, 19, 20]]
    tokens = torch.full((4, 13), 99)  # what stands at the padding is not read
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    read = windows(tokens, torch.tensor([len(t) for t in texts]), *ends, 0, window, stride)
    expected = slow(texts, *ends, window, stride)
    assert read.documents.tolist() == [number for number, _ in expected]
    for ids, mask, length, (_, row) in zip(read.ids, read.mask, read.lengths, expected, strict=True):
        assert ids[mask].tolist() == row and int(mask.sum()) == len(row)
        assert (ids[~mask] == 0).all() and length == len(row) - len(ends[0]) - len(ends[1])


def test_no_document():
    read = windows(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), (2,), (3,), 0, 4)
    assert len(read.ids) == len(read.documents) == 0


TEMPLATES = [("[CLS] $A [SEP]", ((2,), (3,))), ("$A", ((), ())), ("$A [SEP]", ((), (3,)))]


@pytest.mark.parametrize("template, expected", TEMPLATES)
def test_special_tokens_are_those_of_the_tokenizer(tmp_path, template, expected):
    from tokenizers import Tokenizer, models, processors

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "[CLS]": 2, "[SEP]": 3}, unk_token="[UNK]"))
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ends)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert special_tokens(tmp_path / "tokenizer.json") == expected
