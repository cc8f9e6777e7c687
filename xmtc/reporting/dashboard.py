"""The workspace of a Weights & Biases project as code: which curves and bars stand where (wandb-workspaces).

Names are those that runs log: curves under `val/`, of the logits before a head under `val/raw/`, the scores of the best
weights in the run's summary under `best/` (xmtc/training/tracking.py).
"""

from __future__ import annotations

import os

from xmtc.errors import InputError

STEP = "trainer/global_step"
RANKING = ("P@1", "P@5", "nDCG@5", "PSP@5")
BINS = ("head", "torso", "tail")
COST = ("train_seconds", "documents_per_second", "peak_memory_bytes", "parameters")


def workspace(entity: str, project: str):
    """A `wandb_workspaces.workspaces.Workspace`, not yet sent anywhere. Runs of one sweep share a colour group."""
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as workspaces

    def curves(title, names):
        return panels.LinePlot(title=title, x=STEP, y=list(names), smoothing_factor=0)

    def bars(title, names):
        return panels.BarPlot(title=title, metrics=list(names), orientation="h")

    sections = {
        "Validation": [curves(name, [f"val/{name}"]) for name in RANKING],
        "Raw and enhanced logits": [curves(n, [f"val/{n}", f"val/raw/{n}"]) for n in ("P@1", "nDCG@5")],
        "Best weights, test": [bars(name, [f"best/test/{name}"]) for name in RANKING],
        "By label frequency, test": [bars(f"nDCG@5, {part}", [f"best/test/nDCG@5/{part}"]) for part in BINS],
        "Cost": [bars(name, [name]) for name in COST],
    }
    made = [workspaces.Section(name=name, panels=content, is_open=True) for name, content in sections.items()]
    return workspaces.Workspace(entity=entity, project=project, name="xmtc", sections=made)


def send(target: str) -> str:
    """target: PROJECT or ENTITY/PROJECT, where runs were synced to. Saves the workspace as a view of the project and
    returns its address. InputError: the package is missing, W&B is offline or refuses."""
    entity, _, project = target.rpartition("/")
    if not project:
        raise InputError("wandb=: expected PROJECT or ENTITY/PROJECT")
    if os.environ.get("WANDB_MODE", "online") not in ("online", "shared"):
        mode = os.environ["WANDB_MODE"]
        raise InputError(
            f"wandb={target}: a dashboard lives on the server, but WANDB_MODE={mode}; unset it, `wandb login`"
        )
    try:
        import wandb

        entity = entity or wandb.Api().default_entity
        view = workspace(entity, project)
    except ImportError as error:
        raise InputError(f"wandb={target}: needs wandb-workspaces: pip install 'xmtc[dashboard]'") from error
    except (wandb.Error, ValueError) as error:  # no key: `wandb login` is in the message
        raise InputError(f"wandb={target}: {_line(error)}") from error
    try:
        return view.save().url
    except Exception as error:  # of requests, of its GraphQL client, of wandb: the package does not say which
        raise InputError(f"wandb={target}: not saved: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
