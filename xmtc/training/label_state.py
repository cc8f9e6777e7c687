"""Checkpoints hold all labels, whatever execution wrote them, so that any other can read them.

An execution that shards the labels gathers its rows when a checkpoint is written and takes its own when one is read:
those of the model, of the optimiser's state, of averages, and of updates of its own.
"""

from __future__ import annotations

from xmtc.training.optimizers import parameter_groups


def whole_checkpoint(module, checkpoint: dict) -> None:
    """Every process must call it; what rank 0 has afterwards is what is written."""
    _convert(module, checkpoint, module.execution.whole_state)
    checkpoint["execution"] = module.execution.state_dict()


def own_checkpoint(module, checkpoint: dict) -> None:
    _convert(module, checkpoint, module.execution.own_state)
    module.execution.load_state_dict(checkpoint.get("execution", {}))


def _convert(module, checkpoint: dict, convert) -> None:
    checkpoint["state_dict"] = convert(checkpoint["state_dict"])
    for state in checkpoint.get("callbacks", {}).values():
        if "average" in state:
            state["average"] = convert(state["average"])
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    order = [names[id(p)] for group in parameter_groups(module) for p in group["params"]]
    for optimizer in checkpoint.get("optimizer_states", []):
        optimizer["state"] = _rows(optimizer["state"], order, convert)


def _rows(states: dict, order: list[str], convert) -> dict:
    """states: number of the parameter -> its tensors. Only those with rows by label (not the step count) change."""
    converted = {place: dict(state) for place, state in states.items()}
    for key in sorted({key for state in states.values() for key in state} - {"step"}):
        named = {order[place]: state[key] for place, state in states.items() if key in state}
        named = convert(named)
        for place, state in converted.items():
            if key in state:
                state[key] = named[order[place]]
    return converted
