import asyncio
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from xmtc.errors import InputError
from xmtc.serving.answers import Answers, asked, explaining
from xmtc.serving.batching import Batcher, ModelFailed, QueueFull
from xmtc.tagger import Tagger


class Work:
    """Answers with (key, text, k of the call); waits for `open`."""

    def __init__(self):
        self.calls = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, key, texts, k):
        self.calls.append((key, list(texts), k))
        assert self.open.wait(10)
        if "bad" in texts:
            raise InputError("bad text")
        return [[key, text, *range(k)] for text in texts]


def run(scenario, **options):
    """Runs `scenario(batcher, work)`; answers with the work's calls."""
    work = Work()

    async def main():
        done = []
        options.setdefault("wait", 0.05)
        batcher = Batcher(
            work, lambda answer, k: answer[: 2 + k], options.get("size", 4), options["wait"], options.get("room", 8),
            lambda documents, seconds: done.append(documents),
        )  # fmt: skip
        batcher.start()
        await scenario(batcher, work)
        await batcher.stop()
        assert len(batcher) == 0
        return done

    return asyncio.run(main()), work.calls


async def working(work, calls=1):
    while len(work.calls) < calls:
        await asyncio.sleep(0.001)


def test_requests_that_arrive_together_share_a_batch():
    async def scenario(batcher, work):
        first, second = await asyncio.gather(batcher.submit("a", ["x", "y"], 1), batcher.submit("a", ["z"], 2))
        assert first == [["a", "x", 0], ["a", "y", 0]] and second == [["a", "z", 0, 1]]

    done, calls = run(scenario)
    assert calls == [("a", ["x", "y", "z"], 2)] and done == [3]


def test_a_text_for_which_memory_does_not_suffice_is_refused_alone(caplog):
    async def scenario(batcher, work):
        def short(key, texts, k):
            if any(len(text) > 5 for text in texts):
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
            return work(key, texts, k)

        batcher.work = short
        found = await asyncio.gather(
            batcher.submit("a", ["x"], 1), batcher.submit("a", ["too long"], 1), return_exceptions=True
        )
        assert found[0] == [["a", "x", 0]] and "out of memory on this text" in str(found[1])

    run(scenario)
    assert "out of memory on a text of 8 characters" in caplog.text and "Traceback" not in caplog.text


@pytest.mark.parametrize("where", ["start a thread", "wait for more"])
def test_what_ends_a_batch_does_not_end_the_server(where, monkeypatch, caplog):
    """No memory for a thread, or for a timer: who waits hears it, and the next are answered."""

    async def scenario(batcher, work):
        loop, failed = asyncio.get_running_loop(), []

        def fail(*given):
            if not failed:
                failed.append(1)
                if asyncio.iscoroutine(given[0]):
                    given[0].close()
                raise RuntimeError("can't start new thread")
            return usual(*given)

        if where == "start a thread":
            usual = loop.run_in_executor
            monkeypatch.setattr(loop, "run_in_executor", fail)
        else:
            usual = asyncio.wait_for
            monkeypatch.setattr(asyncio, "wait_for", fail)
        with pytest.raises(ModelFailed, match="its log says how"):
            await batcher.submit("a", ["x"], 1)
        assert await batcher.submit("a", ["y"], 1) == [["a", "y", 0]]

    _, calls = run(scenario)
    assert calls == [("a", ["y"], 1)] and "a batch was lost (can't start new thread)" in caplog.text


def test_a_full_batch_does_not_wait():
    async def scenario(batcher, work):
        await asyncio.wait_for(batcher.submit("a", list("wxyz"), 1), 5)

    assert run(scenario, wait=60)[1] == [("a", list("wxyz"), 1)]


def test_a_lone_document_waits_no_longer_than_told():
    async def scenario(batcher, work):
        start = asyncio.get_running_loop().time()
        await batcher.submit("a", ["x"], 1)
        assert 0.2 <= asyncio.get_running_loop().time() - start < 5

    run(scenario, wait=0.2)


def test_documents_of_other_kinds_are_asked_apart_and_keep_their_order():
    async def scenario(batcher, work):
        both = await asyncio.gather(batcher.submit("a", ["x"], 1), batcher.submit("b", ["y"], 1))
        assert both == [[["a", "x", 0]], [["b", "y", 0]]]

    assert sorted(run(scenario)[1]) == [("a", ["x"], 1), ("b", ["y"], 1)]


def test_more_than_a_batch_of_one_request():
    async def scenario(batcher, work):
        answers = await batcher.submit("a", list("abcdefg"), 1)
        assert [answer[1] for answer in answers] == list("abcdefg")

    assert run(scenario)[0] == [4, 3]


def test_no_documents():
    async def scenario(batcher, work):
        assert await batcher.submit("a", [], 1) == []

    assert run(scenario)[1] == []


def test_a_request_that_does_not_fit_whole_is_refused_and_leaves_nothing():
    async def scenario(batcher, work):
        work.open.clear()
        under_way = asyncio.create_task(batcher.submit("a", list("wxyz"), 1))
        await working(work)
        waiting = asyncio.create_task(batcher.submit("a", list("abcdef"), 1))
        await asyncio.sleep(0)
        assert len(batcher) == 6
        with pytest.raises(QueueFull):
            await batcher.submit("a", list("klm"), 1)
        assert len(batcher) == 6
        work.open.set()
        assert len(await under_way) == 4 and len(await waiting) == 6

    run(scenario)


def test_what_nobody_waits_for_leaves_the_queue():
    async def scenario(batcher, work):
        work.open.clear()
        under_way = asyncio.create_task(batcher.submit("a", list("wxyz"), 1))
        await working(work)
        gone = asyncio.create_task(batcher.submit("a", ["gone"] * 3, 1))
        stays = asyncio.create_task(batcher.submit("a", ["stays"], 1))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        assert len(batcher) == 1
        under_way.cancel()  # already at the model: its answer is dropped
        work.open.set()
        assert (await stays)[0][1] == "stays"

    assert run(scenario)[1] == [("a", list("wxyz"), 1), ("a", ["stays"], 1)]


def test_one_text_that_fails_does_not_take_the_others_with_it():
    async def scenario(batcher, work):
        good, bad = await asyncio.gather(
            batcher.submit("a", ["x", "y"], 1), batcher.submit("a", ["bad"], 1), return_exceptions=True
        )
        assert [answer[1] for answer in good] == ["x", "y"] and isinstance(bad, InputError)

    run(scenario)


def test_stopping_answers_what_waits_and_what_is_at_the_model():
    async def scenario(batcher, work):
        work.open.clear()
        task = asyncio.create_task(batcher.submit("a", list("abcdefg"), 1))
        await working(work, 1)
        stopping = asyncio.create_task(batcher.stop())
        work.open.set()
        await working(work, 2)  # the last batch has left the queue ...
        await stopping
        assert len(await asyncio.wait_for(task, 10)) == 7

    run(scenario)


def test_stopping_waits_for_the_only_batch():
    async def scenario(batcher, work):
        work.open.clear()
        task = asyncio.create_task(batcher.submit("a", list("abcd"), 1))
        await working(work)
        assert len(batcher) == 0
        stopping = asyncio.create_task(batcher.stop())
        await asyncio.sleep(0.05)
        assert not stopping.done()
        work.open.set()
        await stopping
        assert len(await asyncio.wait_for(task, 10)) == 4

    run(scenario)


class Calibrated(Tagger):
    """Five labels in one order for every text; calibrated, the third is less probable than the fourth."""

    def __init__(self):
        self.labels = [SimpleNamespace(id=f"l{i}", name=f"L{i}") for i in range(5)]
        self.calibration = lambda logits, indices: np.array([0.9, 0.8, 0.3, 0.7, 0.1], np.float32)[indices]

    def predict_batch(self, texts, k, raw=False, batch_size=None):
        return np.zeros((len(texts), k), np.float32), np.tile(np.arange(k), (len(texts), 1))


@pytest.mark.parametrize("others", [[], [5], [4, 2, 5]])
def test_a_threshold_chooses_among_the_k_that_were_asked_for(others):
    """Whatever other requests are read beside it."""
    model = Calibrated()
    answers = Answers(model)

    async def main():
        batcher = Batcher(answers.work, answers.cut, 8, 0.05, 8)
        batcher.start()
        found = await asyncio.gather(*(batcher.submit(asked(False, 0.5, k), ["x"], k) for k in [3, *others]))
        await batcher.stop()
        return [answer["labels"] for (answer,) in found]

    assert asyncio.run(main()) == [model.predict(["x"], k, 0.5)[0].labels for k in [3, *others]]


class Deeper(Tagger):
    """As an ensemble: for more than 100 labels it reads more of its members, and the best come out in another order."""

    def __init__(self):
        self.labels = [SimpleNamespace(id=f"l{i}", name=f"L{i}") for i in range(200)]
        self.calibration, self.has_head = None, True

    def predict_batch(self, texts, k, raw=False, batch_size=None):
        order = np.arange(k)[:: -1 if k > 100 else 1]
        return np.zeros((len(texts), k), np.float32), np.tile(order, (len(texts), 1))

    def _both(self, texts, k, batch_size):
        return (self.predict_batch(texts, k),) * 2


def test_an_answer_hangs_on_no_request_for_more_labels():
    model, cuts = Deeper(), [3, 100, 120]
    answers = Answers(model)

    async def main(key):
        batcher = Batcher(answers.work, answers.cut, 8, 0.05, 8)
        batcher.start()
        found = await asyncio.gather(*(batcher.submit(key(k), ["x"], k) for k in cuts))
        await batcher.stop()
        return [answer for (answer,) in found]

    told = asyncio.run(main(lambda k: asked(False, None, k)))
    assert [answer["labels"] for answer in told] == [model.predict(["x"], k)[0].labels for k in cuts]
    told = asyncio.run(main(lambda k: explaining(False, k)))
    assert [answer["enhanced"][0]["label"] for answer in told] == ["l0", "l0", "l119"]
