"""Whether a training ended by its own fault, which is its result, or for want of something around it, which must not be."""

import re

import torch

from regbench.methods.errors import (
    CheckpointError,
    ClusterError,
    DataError,
    RegbenchError,
    StorageError,
    SurroundingsError,
)

# Data, disk, memory, packages, devices, other processes.
KINDS = (
    SurroundingsError,
    CheckpointError,
    ClusterError,
    DataError,
    StorageError,
    MemoryError,
    OSError,
    ImportError,
    torch.OutOfMemoryError,
    torch.AcceleratorError,
    torch.distributed.DistError,
)
# What libraries say where they raise a plain RuntimeError, and Ray of a process that it or the system has ended.
SAID = re.compile(
    r"can't allocate memory|not enough memory|out.of.memory|memory monitor|CUDA error|CUDA driver|cuDNN error|NCCL|HIP error"
    r"|gloo|can't start new thread|No space left|Too many open files|node.{0,20} died|NODE_DIED",
    re.IGNORECASE,
)
LONGEST = 1000


def of_surroundings(error: BaseException) -> bool:
    """Whether the surroundings of a training are to blame for an error: tried again, or elsewhere, it may not come."""
    if isinstance(error, RegbenchError):
        return isinstance(error, KINDS)
    return isinstance(error, KINDS) or (isinstance(error, RuntimeError) and SAID.search(_text(error)) is not None)


def root_of(error: BaseException) -> BaseException:
    """The exception that a process raised, without the layers that Ray put around it."""
    while (inner := getattr(error, "cause", None) or error.__cause__) is not None:
        error = inner
    return error


def failure(error: BaseException) -> str:
    """Why a trial failed, for its record: one line, in characters that every file can hold, and not endless."""
    text = " ".join(_text(error).split()).encode("utf-8", "backslashreplace").decode()
    text = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    if isinstance(error, RegbenchError):
        return text
    if isinstance(error, SystemExit):
        return f"the method ended its process: SystemExit({error.code!r})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # an exception of a method's own may be unable to tell itself
        return f"(its text cannot be had: {type(second).__name__})"
