"""Reinforcement of a policy over tokens by verifiable rewards: the loop of GRPO, of which methods change parts."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.hidden import Hidden, fixed_rows, frequencies
from regbench.methods.method import Metrics, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.reinforcement.causal_policies import CausalPolicy, load_causal
from regbench.methods.shared.reinforcement.grpo import (
    Advantage,
    Aggregation,
    aggregate,
    clip_fraction,
    clipped_loss,
    group_advantages,
    k3_divergence,
    probability_ratio,
    token_entropies,
    token_log_probs,
)
from regbench.methods.shared.reinforcement.policies import GPT
from regbench.methods.shared.reinforcement.rollouts import Environment, Rollout, roll_out
from regbench.methods.shared.reinforcement.warm_start import warm_started
from regbench.methods.training import Means, MixedPrecisionMethod, StepMethod, set_rate

Model = Callable[[Tensor], Tensor]
Memory = dict[str, Any]
Policy = GPT | CausalPolicy

SMALL = "small"


@dataclass(frozen=True)
class Batch:
    """Responses to learn from. Methods that need more of them add fields; rows are responses.

    Attributes:
        tokens: prompts and responses ``[N, P + T]``, int64.
        mask: 1 on tokens that the policy has sampled ``[N, T]``.
        turn: the turn that each token belongs to ``[N, T]``, int64.
        advantages: A ``[N]``.
        old_log_probs: of the responses' tokens under the policy that sampled them ``[N, T]``.
        reference_log_probs: under the frozen reference, where there is one.
        longest: T_max, tokens that a response may have.
    """

    tokens: Tensor
    mask: Tensor
    turn: Tensor
    advantages: Tensor
    old_log_probs: Tensor
    reference_log_probs: Tensor | None
    longest: int

    @property
    def prompt(self) -> int:
        """P, the length of the prompts."""
        return self.tokens.shape[1] - self.mask.shape[1]

    @property
    def responses(self) -> Tensor:
        """The tokens after the prompts ``[N, T]``."""
        return self.tokens[:, self.prompt :]

    def rows(self, index: Tensor) -> Self:
        """The batch of some of its responses; what has no rows stays."""
        chosen: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor) and value.dim():
                chosen[field.name] = value[index]
        return replace(self, **chosen)


@dataclass(frozen=True)
class Seen:
    """What a policy says of a batch: logits ``[N, T, V]`` of its responses' tokens, log π and π / π_old of these ``[N, T]``."""

    logits: Tensor
    log_probs: Tensor
    ratio: Tensor


class PolicyMethod(MixedPrecisionMethod, StepMethod):
    """Trains a policy by GRPO on rewards that rules verify: a small GPT that imitates demonstrations, or a given one.

    A step draws prompts, samples a group of responses to each, rewards them, and takes ``updates_per_rollout`` steps of AdamW
    on

        L = agg(ℓ) + β_KL agg(k₃),

    with ℓ the clipped loss of the group's advantages; see the module ``grpo``. A method overrides ``token_losses``, which are
    ℓ, adds a ``penalty``, or changes what is sampled. With several workers, each has groups of its own, and means over tokens
    are taken in each before they are averaged; so they are in each ``micro_batch``, which large policies need.

    **A track must write** ``environment_of`` and ``evaluate``. **A method may write** ``build_memory``, ``columns``,
    ``statistics``, ``annotate``, ``collect``, ``token_losses``, ``penalty``, ``remember`` and ``diagnostics``.
    """

    policy: str = hyperparameter(
        SMALL, pattern="^(small|hf:.+)$", help="small: a GPT that imitates demonstrations; hf:FOLDER: a causal language model"
    )
    layers: int = hyperparameter(2, ge=1, help="of the small policy")
    width: int = hyperparameter(64, ge=1, help="of the small policy's states")
    heads: int = hyperparameter(4, ge=1, help="of each of its attentions, a divisor of the width")
    warm_steps: int = hyperparameter(1500, ge=0, help="mini-batches of demonstrations that the small policy first imitates")
    prompts: int = hyperparameter(16, ge=1, help="prompts in a step, over all workers")
    group: int = hyperparameter(8, ge=2, help="G, responses to each prompt")
    micro_batch: int | None = hyperparameter(
        None, ge=1, help="responses that the policy looks at together, whose statistics are then taken apart; null: all of them"
    )
    updates_per_rollout: int = hyperparameter(1, ge=1, help="steps of the optimizer on what was sampled; 1: on-policy")
    iterations: int = hyperparameter(300, ge=1, help="steps of sampling")
    report_every: int = hyperparameter(100, ge=1, help="steps in one round")
    learning_rate: float = hyperparameter(3e-4, gt=0, may_change=True, help="of AdamW")
    weight_decay: float = hyperparameter(0.0, ge=0, may_change=True, help="decoupled decay")
    gradient_clip: float = hyperparameter(1.0, gt=0, may_change=True, help="largest norm of a gradient")
    advantage: Advantage = hyperparameter("grpo", help="grpo: rewards in units of their group's deviation; dr_grpo: not")
    aggregation: Aggregation = hyperparameter("token_mean", help="how tokens' losses become one; see the function aggregate")
    clip_low: float = hyperparameter(0.2, ge=0, le=1, may_change=True, help="ε_low: ratios are cut at 1 - ε_low")
    clip_high: float = hyperparameter(0.2, ge=0, may_change=True, help="ε_high: and at 1 + ε_high; 0.28: clip-higher")
    dual_clip: float | None = hyperparameter(
        3.0, gt=1, may_change=True, help="c, bound of the loss where A < 0; None: no bound"
    )
    kl_weight: float = hyperparameter(0.0, ge=0, help="β_KL, weight of the divergence from the policy that imitates")
    temperature: float = hyperparameter(1.0, gt=0, help="of the evaluation's samples; training samples at 1")

    @abstractmethod
    def environment_of(self, data: Data) -> Environment:
        """What the policy acts in on a data set."""

    @abstractmethod
    def evaluate(self, network: Any, split: TensorDataset, run: Run) -> Metrics:
        """Metrics of a policy on a split, names without the split's prefix."""

    def build_model(self, data: Data) -> Policy:
        """A copy of the policy that imitates the demonstrations, or the language model of a folder."""
        environment = self.environment_of(data)
        if self.policy != SMALL:
            return CausalPolicy(load_causal(self.policy), environment.pad, self.words(environment))
        return copy.deepcopy(warm_started(data, environment, self.layers, self.width, self.heads, self.warm_steps))

    def words(self, environment: Any) -> Tensor | None:
        """The language model's token for each of the environment's own; None: the environment speaks the model's tokens."""
        return None

    def build_memory(self) -> Memory:
        """Numbers that the method remembers from step to step, the same for all workers."""
        return {}

    def columns(self, batch: Batch, logits: Tensor) -> Batch:
        """Adds to responses what the method needs to know of each under the policy that sampled them.

        Args:
            batch: responses, all or some.
            logits: under that policy ``[N, T, V]``, without gradient.
        """
        return batch

    def statistics(self, batch: Batch, logits: Tensor, memory: Memory) -> dict[str, Tensor]:
        """Scalars of responses under the policy that sampled them; arguments as for ``columns`` and ``annotate``."""
        return {"entropy": aggregate(token_entropies(logits), batch.mask, "token_mean")}

    def annotate(self, batch: Batch, statistics: dict[str, Tensor], memory: Memory, step: int, run: Run) -> Batch:
        """Adds to a batch what the method needs besides, and remembers what it will need.

        Args:
            batch: what was sampled, with its columns.
            statistics: of all of it.
            memory: from earlier steps; to be changed in place.
            step: of the training, from 1.
            run: the run.
        """
        return batch

    def token_losses(self, seen: Seen, batch: Batch, weights: SimpleNamespace) -> Tensor:
        """ℓ ``[N, T]``: by default the clipped loss."""
        return clipped_loss(seen.ratio, batch.advantages[:, None], self.clip_low, self.clip_high, self.dual_clip)

    def penalty(self, seen: Seen, batch: Batch, weights: SimpleNamespace) -> Tensor | None:
        """What is added to GRPO's loss, by default nothing."""
        return None

    def remember(self, seen: Seen, batch: Batch, memory: Memory, run: Run) -> None:
        """Remembers what the method will need of an update."""

    def diagnostics(self, seen: Seen, batch: Batch) -> dict[str, Tensor]:
        """Scalars to record the means of."""
        clipped = clip_fraction(seen.ratio.detach(), batch.advantages[:, None], self.clip_low, self.clip_high, batch.mask)
        return {"clipped": clipped}

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Seen]:
        """The training objective of one mini-batch, as a pure function of its arguments.

        Args:
            model: maps tokens ``[N, L]`` to logits ``[N, L, V]``; to be called once.
            batch: the mini-batch.
            weights: the method's weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar to minimize, and what the model says of the batch.
        """
        seen = see(model, batch)
        loss = aggregate(self.token_losses(seen, batch, weights), batch.mask, self.aggregation, batch.longest)
        if batch.reference_log_probs is not None:
            divergence = k3_divergence(seen.log_probs, batch.reference_log_probs)
            loss = loss + self.kl_weight * aggregate(divergence, batch.mask, self.aggregation, batch.longest)
        penalty = self.penalty(seen, batch, weights)
        return loss if penalty is None else loss + penalty, seen

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains for ``iterations`` and yields means over steps and the evaluation's metrics after every ``report_every``."""
        network = self.build_model(run.data).to(run.device)
        reference = copy.deepcopy(network).requires_grad_(False) if self.kl_weight else None
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)
        model, memory = self.prepare(network, run), self.build_memory()
        run.restore(model=network, optimizer=optimizer, memory=memory)
        for number in run.rounds(self.rounds):
            means = Means()
            for step in self.steps(number):
                set_rate(optimizer, self.learning_rate, self.weight_decay)
                batch = self.collect(network, reference, self.draw(run), memory, step, means, run)
                for part in self.parts(batch, run):
                    self.update(model, network, optimizer, part, memory, means, run)
            yield means.metrics() | run.judge(lambda split: self.evaluate(network, split, run))

    def hidden(self, run: Run, count: int) -> Hidden:
        """The state at the ends of prompts, which the first token is read from; inputs are how often each token occurs."""
        split = run.data.validation
        problems = run.tensors(split)[0][fixed_rows(len(split), count, run.device)]
        prompts, _ = self.environment_of(run.data).start(problems)
        return Hidden(run.network.state(prompts), frequencies(prompts), None)

    def collect(
        self, network: Policy, reference: Policy | None, problems: Tensor, memory: Memory, step: int, means: Means, run: Run
    ) -> Batch:
        """Samples a group of responses to each problem, rewards them and looks at them with the policy that sampled them."""
        environment, stream = self.environment_of(run.data), run.generator("rollouts", run.device)
        found = roll_out(network, environment, problems.repeat_interleave(self.group, 0), stream)
        advantages = group_advantages(found.rewards, self.group, self.advantage)
        batch, statistics = self.look(network, reference, found, advantages, environment, memory, run)
        means.add(reward=found.rewards.mean(), entropy=statistics["entropy"], length=found.mask.sum(1).mean())
        return self.annotate(batch, statistics, memory, step, run)

    def draw(self, run: Run) -> Tensor:
        """This worker's share of a step's problems ``[M, …]``."""
        problems = run.tensors(run.data.train)[0]
        return problems[run.draw(len(problems), self.prompts)]

    def look(
        self,
        network: Policy,
        reference: Policy | None,
        found: Rollout,
        advantages: Tensor,
        environment: Environment,
        memory: Memory,
        run: Run,
    ) -> tuple[Batch, dict[str, Tensor]]:
        """A batch of what was sampled, with its columns and log-probabilities at a temperature of 1, and its statistics."""
        longest = environment.turns * (environment.action + environment.observation)
        batch = Batch(found.tokens, found.mask, found.turn, advantages, found.log_probs, None, longest)
        parts, statistics = [], []
        for piece, share in self.pieces(batch, run):
            with torch.no_grad():
                logits = response_logits(network, piece)
                known = None if reference is None else token_log_probs(response_logits(reference, piece), piece.responses)
                scalars = self.statistics(piece, logits, memory)
            statistics.append({name: share * value for name, value in scalars.items()})
            old = token_log_probs(logits, piece.responses)
            parts.append(self.columns(replace(piece, old_log_probs=old, reference_log_probs=known), logits))
        return together(parts), {name: torch.stack([one[name] for one in statistics]).sum() for name in statistics[0]}

    def pieces(self, batch: Batch, run: Run) -> Iterator[tuple[Batch, float]]:
        """What the policy looks at together, and its share of the batch; as many pieces for each worker."""
        count = len(batch.tokens)
        if self.micro_batch is None:
            yield batch, 1.0
            return
        wanted = torch.tensor([-(-count // self.micro_batch)], device=batch.tokens.device)
        for index in torch.arange(count, device=batch.tokens.device).tensor_split(int(run.gather(wanted).max())):
            yield batch.rows(index), len(index) / count

    def parts(self, batch: Batch, run: Run) -> Iterator[Batch]:
        """The mini-batches of a step."""
        if self.updates_per_rollout == 1:
            yield batch
            return
        stream = run.generator("mini-batches", run.device)
        order = torch.randperm(len(batch.tokens), generator=stream, device=run.device)
        for index in order.tensor_split(self.updates_per_rollout):
            yield batch.rows(index)

    def update(
        self,
        model: nn.Module,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        batch: Batch,
        memory: Memory,
        means: Means,
        run: Run,
    ) -> None:
        """A step of descent, along the mean of the gradients of all pieces."""
        optimizer.zero_grad()
        for piece, share in self.pieces(batch, run):
            loss, seen = self.objective(model, piece, self.weight_values())
            (share * loss).backward()
            self.remember(seen, piece, memory, run)
            means.add(loss=loss, **self.diagnostics(seen, piece))
        nn.utils.clip_grad_norm_(network.parameters(), self.gradient_clip)
        optimizer.step()


def response_logits(model: Model, batch: Batch) -> Tensor:
    """Logits ``[N, T, V]`` of the responses' tokens: those at a position are of the token after it."""
    return model(batch.tokens[:, :-1])[:, batch.prompt - 1 :]


def together(parts: Sequence[Batch]) -> Batch:
    """The batch of the rows of several; what has no rows is that of the first."""
    joined: dict[str, Any] = {}
    for field in fields(parts[0]):
        value = getattr(parts[0], field.name)
        if isinstance(value, Tensor) and value.dim():
            joined[field.name] = torch.cat([getattr(part, field.name) for part in parts])
    return replace(parts[0], **joined)


def see(model: Model, batch: Batch) -> Seen:
    """What a policy says of a batch."""
    logits = response_logits(model, batch)
    log_probs = token_log_probs(logits, batch.responses)
    return Seen(logits, log_probs, probability_ratio(log_probs, batch.old_log_probs))


def mean_of_workers(value: Tensor, run: Run) -> float:
    """The mean of a scalar over all workers, as a number to remember."""
    return run.gather(value.detach()[None]).mean().item()
