"""The dashboard as code: every name on it is one that a run logs, and what stands in the way is said in one line."""

import json

import pytest

import xmtc
from xmtc.errors import InputError
from xmtc.report import main
from xmtc.reporting import dashboard
from xmtc.training import session

workspaces = pytest.importorskip("wandb_workspaces.workspaces")


def names(view):
    for section in view.sections:
        for panel in section.panels:
            yield from (str(getattr(name, "name", name)) for name in getattr(panel, "y", None) or panel.metrics)


def test_every_name_is_one_that_a_run_logs(tmp_path, monkeypatch):
    kept = {}
    monkeypatch.setattr(session, "summarise", lambda loggers, result, facts: kept.update(result=result, facts=facts))
    xmtc.run([
        "debug=fast", "dataset=toy", "encoder=bow", "head=lcenet", "logger=csv", "prepare_workers=1",
        f"paths.cache_dir={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'run'}",
    ])  # fmt: skip
    curves = (tmp_path / "run" / "curves.csv").read_text().splitlines()[0].split(",")
    logged = {f"best/{part}/{name}" for part in ("test", "validation") for name in kept["result"][part]}
    logged |= {*curves, *kept["facts"], dashboard.STEP}
    view = dashboard.workspace("somebody", "xmtc")
    shown = set(names(view))
    assert shown <= logged, shown - logged
    assert {"val/nDCG@5", "val/raw/nDCG@5", "best/test/nDCG@5/tail"} <= shown
    json.loads(view._to_model().model_dump_json())  # what would be sent can be written


def test_the_command_saves_a_view_and_prints_its_address(monkeypatch, capsys):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    saved = []

    def save(self):
        saved.append(self)
        self._internal_name = "nw-abc"
        return self

    monkeypatch.setattr(workspaces.Workspace, "save", save)
    monkeypatch.setattr(
        workspaces.Workspace, "url", property(lambda self: f"https://host/{self.entity}/{self.project}")
    )
    assert main(["wandb=team/extreme"]) == 0
    assert capsys.readouterr().out.strip() == "https://host/team/extreme"
    assert [(view.entity, view.project) for view in saved] == [("team", "extreme")]


@pytest.mark.parametrize(
    ("target", "mode", "says"), [("p", "offline", "WANDB_MODE=offline"), ("", "online", "PROJECT")]
)
def test_what_stands_in_the_way_is_one_line(target, mode, says, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", mode)
    assert main([f"wandb={target}"]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_refusal_of_the_server_is_one_line(monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(workspaces.Workspace, "save", lambda self: (_ for _ in ()).throw(RuntimeError("no\nproject")))
    with pytest.raises(InputError, match="not saved: no project"):
        dashboard.send("team/extreme")
