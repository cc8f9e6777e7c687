"""The one exception that means: the user's input or configuration cannot be used."""


class InputError(Exception):
    """Bad input. Its message is one clear line: what was expected, what came, which config key to change.

    Entry points print that line without a traceback and exit with code 2. Line ends within it, as a column's name or
    another library's words may hold, become blanks.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).splitlines()))


PREEMPTED = 75  # exit code, EX_TEMPFAIL of sysexits.h: a scheduler may start the job again


class Preempted(Exception):
    """SIGTERM: a scheduler wants the machine. What was trained is saved; the command ends with exit code PREEMPTED."""
