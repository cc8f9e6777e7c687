"""Tiny vocabularies and batches, written as lists, for every folder of tests."""

import gc
import os
import shutil
import signal

# A script's background job ignores Ctrl-C, and so would every command that a test starts
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The suite runs one process a core; threads on top of that fight for the cores and make all of it several times slower.
# Alone too: the warm commands of tests/commands run with one, and stand in only for those that would as well
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from tests.commands.starting import started
from xmtc.data.batch import Bags, Batch, Labels
from xmtc.data.vocabulary import Vocabulary

gc.disable()  # until all is imported and collected: none of it is garbage, and it would be looked through every time
os.environ["XMTC_OFFLINE"] = "true"  # a test that wants to download says so
FLAGS = ("--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
         " --disable-component-update --disable-sync").split()  # fmt: skip


def pytest_collection_modifyitems(items):
    """The longest first, so that no process is left with one at the end; and with more time, for slower machines."""
    items.sort(key=_seconds, reverse=True)
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def _seconds(item):
    marker = item.get_closest_marker("slow")
    return 0 if marker is None else marker.args[0] if marker.args else 10


@pytest.fixture(scope="session")
def common(tmp_path_factory):
    """A folder that all processes of the suite share: what one makes there, under a lock, the others need not make."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "common"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """An executable that can stand in the place of `sys.executable`: `[python, "-m", "xmtc.run", …]` starts in a
    fraction of a second, see tests/commands/server.py. For tests of what a command does; what importing it does, and
    that it can be started at all, is seen with `sys.executable`."""
    folder = tmp_path_factory.mktemp("commands")
    with started(folder) as executable:
        yield executable


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def _labels(rows):
    ids = [label for row in rows for label in sorted(row)]
    offsets = np.cumsum([0, *map(len, rows)])
    return Labels(torch.tensor(ids, dtype=torch.int64), torch.tensor(offsets, dtype=torch.int64))


def _batch(count, labels, **parts):
    return Batch(torch.arange(count), _labels(labels if labels is not None else [[]] * count), **parts)


@pytest.fixture
def labels_of():
    """`labels_of([[0, 3], []])`: true labels of two documents."""
    return _labels


@pytest.fixture
def dense_targets():
    """`dense_targets(labels, L)`: (B, L) float64, for oracles only; unseen labels are left out."""

    def make(labels, num_labels):
        targets = torch.zeros(len(labels), num_labels, dtype=torch.float64)
        for document in range(len(labels)):
            for label in labels.ids[labels.offsets[document] : labels.offsets[document + 1]].tolist():
                if label < num_labels:
                    targets[document, label] = 1
        return targets

    return make


@pytest.fixture
def make_vocabulary():
    """`make_vocabulary(size, frequency, documents)`: words by descending document frequency behind padding, unknown."""

    def make(size=10, frequency=None, documents=10):
        counts = np.arange(size, 0, -1) if frequency is None else np.array(frequency)
        counts[0] = 0
        return Vocabulary(size, counts.astype(np.int64), documents)

    return make


@pytest.fixture
def padded_batch():
    """`padded_batch([[3, 4], [5]], labels, width)`: token rows, padded to the longest text or to `width`."""

    def make(texts, labels=None, width=None):
        width = max(map(len, texts), default=1) if width is None else width
        tokens = torch.zeros(len(texts), width, dtype=torch.int64)
        for row, text in zip(tokens, texts, strict=True):
            row[: len(text)] = torch.tensor(text)
        return _batch(len(texts), labels, tokens=tokens, lengths=torch.tensor([len(text) for text in texts]))

    return make


@pytest.fixture
def bag_batch():
    """`bag_batch([{3: 2, 4: 1}, {1: 5}], labels)`: bags of words, word -> count, in the order given."""

    def make(bags, labels=None):
        words = torch.tensor([word for bag in bags for word in bag], dtype=torch.int64)
        counts = torch.tensor([count for bag in bags for count in bag.values()], dtype=torch.float32)
        offsets = torch.tensor(np.cumsum([0, *map(len, bags)]), dtype=torch.int64)
        return _batch(len(bags), labels, bags=Bags(words, counts, offsets))

    return make


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium. Of a module: its event loop would be in the way of other tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is not tested: no playwright")
    chromium = os.environ.get("XMTC_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("the page is not tested: no Chromium found (XMTC_CHROMIUM=PATH names one)")
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()
