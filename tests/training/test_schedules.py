import math

import pytest

from xmtc.training.schedules import Schedule


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1, 1, 1, 1, 1, 1, 1, 1]),
        ({"warmup": 0.5}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"shape": "linear"}, [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ({"shape": "linear", "final": 0.5}, [1, 0.9375, 0.875, 0.8125, 0.75, 0.6875, 0.625, 0.5625]),
        ({"shape": "linear", "warmup": 0.5}, [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]),
        ({"shape": "linear", "warmup": 0.3}, [1 / 3, 2 / 3, 1] + [(8 - s) / 5.6 for s in range(3, 8)]),
        ({"shape": "cosine"}, [(1 + math.cos(math.pi * s / 8)) / 2 for s in range(8)]),
        ({"shape": "cosine", "final": 0.2}, [0.2 + 0.4 * (1 + math.cos(math.pi * s / 8)) for s in range(8)]),
    ],
)
def test_factors_of_eight_steps(settings, expected):
    schedule = Schedule(**settings)
    assert [schedule(step, 8) for step in range(8)] == pytest.approx(expected)


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_steps_behind_the_last_stay_at_the_end(shape):
    schedule = Schedule(shape, warmup=0.1, final=0.3)
    assert schedule(10, 10) == schedule(99, 10) == pytest.approx(1.0 if shape == "constant" else 0.3)
    assert schedule(0, 0) <= 1
