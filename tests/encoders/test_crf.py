"""The chain against an enumeration of all tag sequences."""

import itertools

import numpy as np
import pytest
import torch

from xmtc.encoders.crf import BinaryChain


@pytest.mark.parametrize("length", [1, 2, 5])
def test_equals_the_enumeration(length):
    chain = BinaryChain().double()
    for parameter in chain.parameters():
        torch.nn.init.normal_(parameter)
    emissions = torch.randn(3, length, 2, dtype=torch.float64)
    t, s, e = (p.detach().numpy() for p in (chain.transitions, chain.start, chain.end))
    odds = chain.log_odds(emissions).detach().numpy()
    for b, own in enumerate(emissions.numpy()):
        weights = {}
        for tags in itertools.product((0, 1), repeat=length):
            score = s[tags[0]] + e[tags[-1]] + sum(own[i, tag] for i, tag in enumerate(tags))
            weights[tags] = np.exp(score + sum(t[a, b] for a, b in itertools.pairwise(tags)))
        total = sum(weights.values())
        for i in range(length):
            p = sum(w for tags, w in weights.items() if tags[i]) / total
            assert odds[b, i] == pytest.approx(np.log(p / (1 - p)))
        for tags, weight in weights.items():
            loss = chain.negative_log_likelihood(emissions[b : b + 1], torch.tensor([tags]))
            assert loss.item() == pytest.approx(-np.log(weight / total))
