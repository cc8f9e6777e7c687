"""Launchers of xmtc. Hydra looks for plugins nowhere else than under `hydra_plugins`, and imports all of it at every
start: what is here stays small, the work is done in `xmtc.sweeping`."""
