"""Configuration: where it is, what it may hold, and what to say when it holds something else.

Cheap to import (no torch): entry points need it before they know whether anything will run.
"""

from xmtc.config.check import check_node
from xmtc.config.command_line import checked_command_line
from xmtc.config.compose import compose_checked, compose_jobs
from xmtc.config.paths import command_dir, config_dir
from xmtc.config.resolvers import register_resolvers

__all__ = [
    "check_node",
    "checked_command_line",
    "command_dir",
    "compose_checked",
    "compose_jobs",
    "config_dir",
    "register_resolvers",
]
