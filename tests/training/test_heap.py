"""Memory that is kept while training: fewer pages asked for, given back at the end."""

import subprocess

import pytest
import torch

from xmtc.training.heap import memory_kept

STEPS = """
import resource, torch
from xmtc.training.record import resident_bytes as resident
from xmtc.training.heap import memory_kept
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    for _ in range(5):
        torch.ones(16 << 20) + torch.ones(16 << 20)  # 64 MiB each: glibc maps what is above 32 anew
step()
seen = faults()
step()
usual = faults() - seen
with memory_kept(torch.device(DEVICE)):
    step()
    seen = faults()
    step()
    kept = faults() - seen
    held = resident()
left = resident()
seen = faults()
step()
print(usual, kept, faults() - seen, held, left)
"""

TRIMMED = """
import torch
from xmtc.training.heap import Trimming, memory_kept
from xmtc.training.record import resident_bytes as resident
trimming, begun = Trimming(), resident()
def step():
    live = [torch.ones(16 << 20) for _ in range(3)]  # 192 MiB
    trimming.on_before_backward(None, None, torch.zeros(()))
    live[0] + live[1]  # more than was seen before the backward pass, less than twice
    del live
    trimming.on_train_batch_end(None, None, None, None, 0)
    print(trimming.trims, resident() - begun >> 20, flush=True)
with memory_kept(torch.device("cpu")):
    step()
    step()
    torch.ones(160 << 20)  # an evaluation, or steps of many shapes
    print(resident() - begun >> 20)
    step()
    step()
    trimming.on_validation_start(None, None)
    print(trimming.trims, resident() - begun >> 20)
"""

MAPPED = """
import mmap, tempfile, torch
from xmtc.training.heap import Trimming, memory_kept
trimming, file = Trimming(), tempfile.TemporaryFile()
file.truncate(400 << 20)
mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
def step():
    live = torch.ones(16 << 20)  # 64 MiB
    trimming.on_before_backward(None, None, torch.zeros(()))
    del live
    trimming.on_train_batch_end(None, None, None, None, 0)
with memory_kept(torch.device("cpu")):
    step()
    for page in range(0, len(mapped), 4096):
        mapped[page]
    for _ in range(5):
        step()
    print(trimming.trims)
    torch.ones(256 << 20)  # 1 GiB
    step()
    print(trimming.trims)
"""


@pytest.fixture
def said(python):
    """What a program prints: lines of numbers. In a process of its own, whose memory nobody else has moved."""

    def said(program):
        done = subprocess.run([python, "-"], input=program, capture_output=True, text=True, check=True)
        return [[int(word) for word in line.split()] for line in done.stdout.splitlines()]

    return said


@pytest.mark.skipif(not hasattr(__import__("ctypes").CDLL(None), "gnu_get_libc_version"), reason="another C library")
def test_pages_are_asked_for_once_and_given_back(said):
    ((usual, kept, after, held, left),) = said(f"DEVICE = 'cpu'{STEPS}")
    assert usual > 5 * 3 * 16 * 1024 / 2  # pages of 4 KiB; some systems map larger ones
    assert kept < usual / 20 and after > usual / 4  # a hole between two others may serve some of them
    assert left < held - (96 << 20)


@pytest.mark.skipif(not hasattr(__import__("ctypes").CDLL(None), "mallinfo2"), reason="another C library")
def test_what_a_step_never_needed_is_given_back(said):
    first, second, (filled,), third, fourth, evaluating = said(TRIMMED)
    assert first[0] == second[0] == 0 and 192 <= second[1] < 2 * 192 + 64  # kept
    assert filled > 640
    assert third[0] == 1 and third[1] < 100  # given back
    assert fourth[0] == 1 and 192 <= fourth[1] < 2 * 192 + 64  # and kept again
    assert evaluating[0] == 2 and evaluating[1] < 100  # an evaluation begins with what is in use


@pytest.mark.skipif(not hasattr(__import__("ctypes").CDLL(None), "mallinfo2"), reason="another C library")
def test_pages_of_files_are_no_heap(said):
    """A store that is read in training is mapped: nothing is trimmed for it again and again, and the heap still is."""
    (first,), (then,) = said(MAPPED)
    assert first <= 1 and then == first + 1


def test_a_gpu_keeps_its_own_memory(said):
    with memory_kept(torch.device("cuda")):  # nothing of it is asked
        pass
    ((usual, kept, *_),) = said(f"DEVICE = 'meta'{STEPS}")
    assert kept > usual / 2
