"""Networks that many runs begin with, trained once for all processes and kept in the user's cache folder."""

import hashlib
import io
import os
import pickle
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import platformdirs
import torch
from torch import Tensor, nn


def trained_once(
    kind: str,
    network: nn.Module,
    train: Callable[[nn.Module], None],
    settings: str,
    code: Sequence[ModuleType],
    tensors: Sequence[Tensor],
) -> None:
    """Fills a network with the parameters that its training gives, or gave to an earlier process, on the CPU.

    Args:
        kind: the folder that keeps such networks, below the user's cache folder.
        network: with fresh parameters; changed in place.
        train: trains it in place. It follows from the other arguments, random numbers from a fixed seed included.
        settings: of the training, as text.
        code: the modules that it is made of.
        tensors: what it is trained on.
    """
    state = hashlib.sha256(f"{torch.__version__} {settings}".encode())
    for module in code:
        state.update(Path(str(module.__file__)).read_bytes())
    for tensor in tensors:
        state.update(tensor.numpy().tobytes())
    # Not in the folder of the inventories, which keeps the latest few entries and deletes all others.
    path = platformdirs.user_cache_path("regbench-networks") / kind / f"{state.hexdigest()[:32]}.pt"
    if not _read(path, network):
        train(network)
        _write(path, network.state_dict())


def _read(path: Path, network: nn.Module) -> bool:
    """Whether a network could be filled from a file; one that is damaged is as good as none."""
    with suppress(OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError):
        network.load_state_dict(torch.load(path, weights_only=True))
        return True
    return False


def _write(path: Path, state: Mapping[str, Any]) -> None:
    """Keeps a network, unless the folder cannot be written."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Several processes may write the same at once.
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(buffer.getvalue())
        Path(partial).replace(path)
