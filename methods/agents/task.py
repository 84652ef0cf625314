"""The agents task: a policy acts in a household for many turns, and is told at the end whether it has succeeded."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.reinforcement.causal_policies import tokens_of
from regbench.methods.shared.reinforcement.grpo import aggregate
from regbench.methods.shared.reinforcement.household import Household
from regbench.methods.shared.reinforcement.rollouts import roll_out
from regbench.methods.shared.reinforcement.task import SMALL, Batch, Memory, Policy, PolicyMethod, mean_of_workers

TRACK = Track(
    name="agents",
    help="tasks of many turns with one reward at the end, for a small language model that acts in words",
    metrics=(
        Metric("unseen_success", "max"),
        Metric("seen_success", "max"),
        Metric("entropy_swing", "min"),
    ),
    data=("micro_house", "micro_house_30"),
    baseline="agent_grpo",
    smoke={
        "layers": 1,
        "width": 32,
        "heads": 2,
        "warm_steps": 60,
        "prompts": 4,
        "group": 4,
        "iterations": 4,
        "report_every": 2,
        "evaluated": 10,
        "learning_rate": 1e-3,
        # Weights of a policy of this size.
        "entropy_weight": 0.05,
        "smooth_weight": 0.3,
    },
)


class AgentMethod(PolicyMethod):
    """Reinforces what a policy does in many turns; a trajectory's tokens share its advantage.

    A policy is judged by how often it succeeds, one trajectory a problem: in tasks that training draws too
    (``seen_success``), and in triples of task, object and destination that it never sees (``unseen_success``).
    A language model of a folder (``policy: hf:FOLDER``) acts in words of its own tokenizer, one token each, and can say nothing
    else.
    ``entropy_swing`` is the root mean square of the steps' entropies around their running mean, ``turns`` how many actions a
    trajectory has. Group statistics are over trajectories, one value each, where verl-agent takes them over turns.
    """

    track: ClassVar[Track] = TRACK

    kl_weight: float = hyperparameter(0.01, ge=0, help="β_KL, weight of the divergence from the policy that imitates")
    evaluated: int = hyperparameter(400, ge=1, help="problems of either kind that the policy is judged on, at most")

    def environment_of(self, data: Data) -> Household:
        """The household of a data set."""
        return Household(data.meta["places"], data.meta["turns"])

    def words(self, environment: Household) -> Tensor | None:
        """The language model's token for each word of the household."""
        return None if self.policy == SMALL else tokens_of(self.policy, environment.names)

    def build_memory(self) -> Memory:
        """The mean entropies of all steps."""
        return {"entropies": []}

    def annotate(self, batch: Batch, statistics: dict[str, Tensor], memory: Memory, step: int, run: Run) -> Batch:
        """Remembers the step's entropy."""
        memory["entropies"].append(mean_of_workers(statistics["entropy"], run))
        return batch

    def evaluate(self, network: Policy, split: TensorDataset, run: Run) -> Metrics:
        """Metrics on the first ``evaluated`` problems of either kind."""
        problems, unseen = run.tensors(split)
        rows = torch.cat([kind.nonzero()[: self.evaluated, 0] for kind in (~unseen, unseen)])
        stream = run.generator(f"evaluation {run.split_name(split)}", run.device, shared=True)
        found = roll_out(network, self.environment_of(run.data), problems[rows], stream, self.temperature)
        solved = [found.solved[unseen[rows] == kind].double().mean().item() for kind in (False, True)]
        entropies = torch.tensor(run.part("memory")["entropies"], dtype=torch.float64)
        running = entropies.cumsum(0) / torch.arange(1, len(entropies) + 1)
        other: dict[str, Any] = {
            "entropy_swing": (entropies - running).square().mean().sqrt().item(),
            "entropy": aggregate(-found.log_probs, found.mask, "token_mean").item(),
            "turns": found.mask.sum(1).mean().item() / self.environment_of(run.data).action,
        }
        return {"unseen_success": solved[1], "seen_success": solved[0]} | other
