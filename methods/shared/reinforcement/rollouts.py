"""What a policy does in an environment: batched sampling with a cache of keys and values, in one turn or in many."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

PAD, BOS, EOS = 0, 1, 2

# After so many tokens it is looked whether any response still goes on.
LOOK_EVERY = 8


class Environment(Protocol):
    """A family of problems, which rows of a data set's split tell apart. Its states are dictionaries of tensors.

    Attributes:
        vocabulary: number V of tokens.
        prompt: P, the length of every prompt.
        turns: how often the policy acts, at most.
        action: tokens of an action, at most.
        observation: tokens that follow an action, 0 in a single turn.
        pad: the token that fills sequences up.
        end: the token that ends an action.
    """

    vocabulary: int
    prompt: int
    turns: int
    action: int
    observation: int
    pad: int
    end: int

    def __hash__(self) -> int: ...

    def start(self, problems: Tensor) -> tuple[Tensor, Any]:
        """Prompts ``[B, P]`` and the state in which the problems ``[B, …]`` begin."""

    def act(self, state: Any, action: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
        """Changes the state by actions ``[B, A]`` where ``alive [B]``; returns observations ``[B, O]`` and where it is over."""

    def judge(self, state: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Rewards ``[B]``, whether the problem is solved ``[B]``, and the answer ``[B]``, int64, -1 for none."""


@dataclass(frozen=True)
class Rollout:
    """Sampled sequences, padded after their ends. T is the number of tokens after the prompt.

    Attributes:
        tokens: ``[N, P + T]``, int64.
        mask: 1 on tokens that the policy has sampled ``[N, T]``, float.
        turn: the number of the turn that a token belongs to ``[N, T]``, int64.
        rewards: ``[N]``.
        solved: ``[N]``, bool.
        answers: ``[N]``, int64, -1 for none.
        log_probs: of sampled tokens at the temperature of the sampling ``[N, T]``, 0 elsewhere.
    """

    tokens: Tensor
    mask: Tensor
    turn: Tensor
    rewards: Tensor
    solved: Tensor
    answers: Tensor
    log_probs: Tensor


@torch.no_grad()
def roll_out(
    policy: Any, environment: Environment, problems: Tensor, generator: torch.Generator, temperature: float = 1.0
) -> Rollout:
    """Samples one sequence a problem; greedily at a temperature of 0.

    Args:
        policy: with ``start`` and ``extend`` as those of ``GPT``.
        environment: whose problems.
        problems: rows ``[N, …]`` of its data.
        generator: on the problems' device.
        temperature: of the sampling.
    """
    prompt, state = environment.start(problems)
    count, step = len(prompt), environment.action + environment.observation
    length = environment.turns * step - environment.observation
    tokens = prompt.new_full((count, environment.prompt + length), environment.pad)
    tokens[:, : environment.prompt] = prompt
    mask = torch.zeros(count, length, device=prompt.device)
    log_probs = torch.zeros_like(mask)
    alive = torch.ones(count, dtype=torch.bool, device=prompt.device)
    cache, pending, place = policy.start(count, tokens.shape[1]), prompt, 0
    for _ in range(environment.turns):
        over = ~alive
        for _ in range(environment.action):
            logits = policy.extend(pending, cache)
            drawn, found = sample(logits, temperature, generator)
            acting = alive & ~over
            pending = torch.where(acting, drawn, environment.pad)[:, None]
            tokens[:, environment.prompt + place] = pending[:, 0]
            mask[:, place], log_probs[:, place] = acting.to(mask.dtype), found * acting
            place += 1
            over = over | (drawn == environment.end)
            if environment.turns == 1 and place % LOOK_EVERY == 0 and bool(over.all()):
                break
        start = environment.prompt + place - environment.action
        action = tokens[:, start : environment.prompt + place] if environment.turns > 1 else tokens[:, environment.prompt :]
        seen, done = environment.act(state, action, alive)
        alive = alive & ~done
        if environment.turns == 1 or not bool(alive.any()):
            break
        if place < length:
            seen = torch.where(alive[:, None], seen, environment.pad)
            tokens[:, environment.prompt + place : environment.prompt + place + environment.observation] = seen
            pending, place = torch.cat([pending, seen], 1), place + environment.observation
    turn = (torch.arange(length, device=prompt.device) // step).expand(count, -1)
    rewards, solved, answers = environment.judge(state)
    used = int(mask.any(0).nonzero().max()) + 1
    return Rollout(
        tokens[:, : environment.prompt + used],
        mask[:, :used],
        turn[:, :used],
        rewards,
        solved,
        answers,
        log_probs[:, :used],
    )


def sample(logits: Tensor, temperature: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tokens ``[B]`` drawn from softmax(z / temperature), z ``[B, V]``, and their log-probabilities ``[B]``; greedy at 0."""
    if temperature == 0:
        drawn = logits.argmax(1)
        return drawn, logits.log_softmax(1).gather(1, drawn[:, None])[:, 0]
    log_p = (logits / temperature).log_softmax(1)
    drawn = torch.multinomial(log_p.exp(), 1, generator=generator)
    return drawn[:, 0], log_p.gather(1, drawn)[:, 0]
