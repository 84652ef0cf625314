"""Policies that have learned from demonstrations: where every reinforcement begins, the same in all trials."""

import sys
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from regbench.methods.shared.data import KEPT, Data
from regbench.methods.shared.reinforcement import policies
from regbench.methods.shared.reinforcement.grpo import token_log_probs
from regbench.methods.shared.reinforcement.policies import GPT
from regbench.methods.shared.trained_once import trained_once
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
            sequences = torch.cat([environment.start(problems)[0], shown], 1)
            mask = environment.spoken(shown)
            trained_once(
                "policies",
                policy,
                lambda network: imitate(network, sequences, mask, steps),
                settings=f"{layers} {width} {heads} {steps} {BATCH} {RATE}",
                code=(policies, sys.modules[__name__]),
                tensors=(sequences, mask),
            )
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
