"""What a run of several sessions says of them, by the words of each."""

import pytest

from xmtc.reporting.commands import settings_of
from xmtc.training.history import History

RUN = "python -m xmtc.run encoder=bow "


def provenance(*words):
    """Of sessions with these words, each continuing the one before."""
    held = None
    for step, each in enumerate(words):
        born = {"commit": "c", "dirty": False, "command": RUN + each}
        history = History(born)
        if held:
            history.on_load_checkpoint(None, None, held | {"global_step": step})
        history.on_save_checkpoint(None, None, held := {})
    return history.provenance(born)


def test_every_session_but_the_first_goes_on_with_the_run():
    """Else the second one would read as a run of its own, from which the third started."""
    command = provenance("a=1", "a=2", "a=3")["command"]
    assert command == f"{RUN}a=1 && {RUN}a=2 resume=RUN_DIR && {RUN}a=3 resume=RUN_DIR"
    assert settings_of(command) == {"a": "3", "continues": "alike(a=2 continues=alike(a=1))"}
    warm = provenance("a=1 init_from=x", "a=2 init_from=x")["command"]
    told = settings_of(f"{RUN}b=0 && {warm}")
    assert told == {"a": "2", "continues": "alike(a=1 init_from=alike(b=0 ~a))"}


@pytest.mark.parametrize("there, here", [
    ("dataset.path=/old/corpus", "dataset.path=/new/place"), ("'dataset.path=/a b'", "'dataset.path=/c d'"),
    ("embedding.path=/old/glove.txt", "embedding.path=/new/glove.txt"),
])  # fmt: skip
def test_files_that_have_moved_make_no_other_run(there, here):
    """Whose corpus has moved is a seed like the others: only the same files can be gone on with."""
    found = provenance(there, here)
    assert found["command"] == RUN + here and found["resumed_from_step"] == [1]
    assert " && " in provenance("embedding.path=/a/glove.txt", "embedding.path=/a/other.txt")["command"]
