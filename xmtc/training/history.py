"""Which sessions trained a run: kept in its checkpoints, for a run that was stopped has no metrics.json to tell."""

from __future__ import annotations

import shlex

import pytorch_lightning as pl

from xmtc.sweeping.settings import AND, pairs, that_matter

TOLD = ("commit", "dirty", "command")


class History(pl.Callback):
    """born: the provenance of this session. sessions: {step, commit, dirty, command} of each, this one last; of those
    before there is only the step in a checkpoint that knows no more."""

    def __init__(self, born: dict):
        self.sessions = [{"step": 0} | {key: born.get(key) for key in TOLD}]

    def on_save_checkpoint(self, trainer, module, checkpoint: dict) -> None:
        checkpoint["sessions"] = self.sessions

    def on_load_checkpoint(self, trainer, module, checkpoint: dict) -> None:
        before = checkpoint.get("sessions") or [{"step": 0}]
        self.sessions = [*before, self.sessions[-1] | {"step": int(checkpoint["global_step"])}]

    def provenance(self, born: dict) -> dict:
        """`born` with the sessions before: dirty if one of them was, and every command that had other settings than the
        one behind it, for the last alone does not make this run again."""
        commands = [session["command"] for session in self.sessions if session.get("command")]
        chain = commands[-1:]
        for command in reversed(commands[:-1]):
            if _settings(command) != _settings(chain[0]):
                chain.insert(0, command)
        begun = [{key: s.get(key) for key in ("step", "commit")} for s in self.sessions]
        return born | {
            "dirty": any(s.get("dirty") for s in self.sessions) if born.get("commit") else None,
            "command": AND.join([*chain[:1], *(f"{command} resume=RUN_DIR" for command in chain[1:])]) or None,
            "resumed_from_step": [s["step"] for s in self.sessions[1:]] or None,
            "commits": begun if len({s.get("commit") for s in self.sessions}) > 1 else None,
        }


def _settings(command: str) -> dict[str, str]:
    return that_matter(pairs(shlex.split(command)[3:]))
