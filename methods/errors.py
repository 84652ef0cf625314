"""The errors that regbench raises on purpose: each message is one line that says what to do."""

import difflib
from collections.abc import Iterable

# As many names as a message may hold.
SHOWN = 5


class RegbenchError(Exception):
    """Base of all errors that a user can act on; the command line prints its message and exits with 2."""


class ConfigError(RegbenchError):
    """A name, key or value in a suite, a setting or a command is wrong."""


class DataError(RegbenchError):
    """A data set is missing or does not have the expected format."""


class ContractError(RegbenchError):
    """A method breaks the contract that every method keeps."""


class CheckpointError(RegbenchError):
    """A checkpoint cannot be read, or belongs to something else."""


class DivergedError(RegbenchError):
    """Training produced a metric that is not finite."""


class StorageError(RegbenchError):
    """Results cannot be written or read."""


class SurroundingsError(RegbenchError):
    """Something around a training is missing, such as memory, a package or a device, which is no result of the training."""


class TrackingError(RegbenchError):
    """The MLflow tracking server cannot be reached or refuses a request."""


class ClusterError(RegbenchError):
    """A cluster cannot be reached or refuses a request."""


def one_line(error: BaseException) -> str:
    """What an error says, on one line, as a message quotes it."""
    return " ".join(str(error).split())


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint that ends an "unknown name" message: the nearest known name, all of a few, or the nearest of many."""
    known = sorted(set(known))
    if close := difflib.get_close_matches(name, known, n=1, cutoff=0.6):
        return f"did you mean '{close[0]}'?"
    if len(known) <= SHOWN:
        return f"known: {', '.join(known) or 'none'}"
    return f"the nearest of {len(known)}: {', '.join(difflib.get_close_matches(name, known, n=SHOWN, cutoff=0.0))}"
