"""Policies that have learned from demonstrations: where every reinforcement begins, the same in all trials."""

import hashlib
import io
import os
import pickle
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor, nn

from regbench.methods.shared.data import KEPT, Data
from regbench.methods.shared.reinforcement import policies
from regbench.methods.shared.reinforcement.grpo import token_log_probs
from regbench.methods.shared.reinforcement.policies import GPT
from regbench.methods.training import descend, set_rate

BATCH = 64
RATE = 3e-3


@lru_cache(KEPT)
def warm_started(data: Data, environment: Any, layers: int, width: int, heads: int, steps: int) -> GPT:
    """A policy that imitates a data set's demonstrations, on the CPU; to be copied before it is trained or moved.

    Its seed is fixed, so that differences between runs are not those of what they start from. It is trained once for all
    processes: the user's cache folder keeps it under a digest of demonstrations, settings and the code that trains it.

    Args:
        data: its training split holds problems ``[M, …]`` and demonstrations ``[M, T]``.
        environment: gives the problems' prompts, and says by ``spoken`` which tokens of a demonstration are the policy's.
        layers: of the policy, see ``GPT``.
        width: likewise.
        heads: likewise.
        steps: mini-batches of 64 demonstrations.
    """
    problems, shown = data.train.tensors
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        policy = GPT(environment.vocabulary, environment.prompt + shown.shape[1], layers, width, heads)
        if steps:
            settings = f"{torch.__version__} {layers} {width} {heads} {steps} {BATCH} {RATE}"
            sequences = torch.cat([environment.start(problems)[0], shown], 1)
            mask = environment.spoken(shown)
            path = _folder() / f"{_digest(settings, sequences, mask)}.pt"
            if not _read(path, policy):
                imitate(policy, sequences, mask, steps)
                _write(path, policy.state_dict())
    return policy


def imitate(policy: nn.Module, sequences: Tensor, mask: Tensor, steps: int) -> None:
    """Minimizes the cross-entropy of demonstrated tokens by AdamW, with a cosine from 3e-3 to 0.

    Args:
        policy: maps tokens ``[B, L]`` to logits ``[B, L, V]``.
        sequences: prompts with demonstrations ``[M, P + T]``.
        mask: which of the demonstrations' tokens are learned ``[M, T]``.
        steps: mini-batches.
    """
    prompt = sequences.shape[1] - mask.shape[1]
    optimizer = torch.optim.AdamW(policy.parameters(), lr=RATE, fused=True)
    for step in range(steps):
        set_rate(optimizer, RATE * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item()) / 2)
        rows = torch.randint(len(sequences), (BATCH,))
        logits = policy(sequences[rows, :-1])[:, prompt - 1 :]
        kept = mask[rows]
        descend(-(token_log_probs(logits, sequences[rows, prompt:]) * kept).sum() / kept.sum(), optimizer)


def _digest(settings: str, *tensors: Tensor) -> str:
    """A name that other content, settings or code would not have."""
    state = hashlib.sha256(settings.encode())
    for module in (policies.__file__, __file__):
        state.update(Path(module).read_bytes())
    for tensor in tensors:
        state.update(tensor.numpy().tobytes())
    return state.hexdigest()[:32]


def _folder() -> Path:
    return platformdirs.user_cache_path("regbench") / "policies"


def _read(path: Path, policy: nn.Module) -> bool:
    """Whether a policy could be filled from a file; one that is damaged is as good as none."""
    with suppress(OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError):
        policy.load_state_dict(torch.load(path, weights_only=True))
        return True
    return False


def _write(path: Path, state: Mapping[str, Any]) -> None:
    """Keeps a policy, unless the folder cannot be written."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Several processes may write the same at once.
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(buffer.getvalue())
        Path(partial).replace(path)
