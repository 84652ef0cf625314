"""AEPO: an entropy that can be commanded, by right answers sampled hotter or colder."""

from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import TensorDataset

from regbench.methods.method import Metrics, Paper, hyperparameter, is_off, weight
from regbench.methods.reasoning.task import ReasoningMethod
from regbench.methods.reasoning.temperatures import TemperatureRule, auxiliary_objective, sampling_temperature
from regbench.methods.run import Run
from regbench.methods.shared.reinforcement.grpo import aggregate, group_advantages
from regbench.methods.shared.reinforcement.rollouts import roll_out
from regbench.methods.shared.reinforcement.task import Batch, Memory, Model, Policy, Seen, mean_of_workers
from regbench.methods.training import Means

# The least advantage by which the released code tells right responses.
LEAST_ADVANTAGE = 0.05


@dataclass(frozen=True)
class MixedBatch(Batch):
    """A batch that ends with auxiliary responses, all right.

    Attributes:
        auxiliary: 1 on them ``[N]``.
        samples: G', how many they were chosen from, a scalar.
    """

    auxiliary: Tensor
    samples: Tensor

    def rows(self, index: Tensor) -> Self:
        """Some of its responses, with their share of G'."""
        return replace(super().rows(index), samples=self.samples * len(index) / len(self.tokens))


class AEPO(ReasoningMethod):
    """Adds to GRPO's objective α times that of right responses sampled at a temperature T, so that entropy goes to a target.

    T is high while the last entropy estimate is at most the target, and low otherwise; only responses with a reward of 1 count,
    and probabilities are those at a temperature of 1. Their tokens are then less sure than the policy, or surer; the entropy
    itself is in no loss. It needs tokens among which rewards do not choose: where they do, the filter sharpens the policy too.

    ``mixing: add`` is the form of the latest revision. ``replace``, as released, has no α: it puts at most ``auxiliary_share``
    of a step's responses (half as many while T is low) in the place of the first ones, with an advantage of 1. The estimate is
    that of the code, -log π of all tokens learned from, averaged over a step's updates and 0 before the first; ``exact`` is the
    mean entropy of the policy that sampled. The paper's method section could not be read; formulas are those of its repository.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Arbitrary Entropy Policy Optimization: Entropy Is Controllable in Reinforcement Fine-tuning",
        "Wang, Li, Bai, Zhang, Cui, Zhao, Wang",
        2025,
        "arXiv",
        "2510.08141",
    )

    reinforce_weight: float = weight(
        1 / 64, off=0.0, ge=0, symbol="α", differentiable=True, help="weight of the auxiliary responses' objective"
    )
    target_entropy: float = hyperparameter(0.5, gt=0, may_change=True, help="H, nats a token that the policy is to have")
    temperature_high: float = hyperparameter(1.2, ge=1, may_change=True, help="T while the entropy is at most the target")
    temperature_low: float = hyperparameter(0.8, gt=0, le=1, may_change=True, help="T while it is above")
    temperature_rule: TemperatureRule = hyperparameter(
        "two_level", help="two_level: one of both temperatures; continuous: 1 + target - entropy between them"
    )
    prompt_share: float = hyperparameter(0.25, gt=0, le=1, help="share of a step's prompts that are sampled again")
    mixing: Literal["add", "replace"] = hyperparameter("add", help="add: a term of its own; replace: in the place of responses")
    auxiliary_share: float = hyperparameter(
        60 / 2560, ge=0, le=1, may_change=True, help="largest share of a step's responses that are replaced"
    )
    selection: Literal["correct", "advantage"] = hyperparameter(
        "correct", help="correct: reward 1; advantage: above 0.05, which leaves out groups that are all right"
    )
    entropy_estimator: Literal["sampled", "exact"] = hyperparameter(
        "sampled", help="sampled: -log π of the tokens learned from; exact: mean entropy of the policy that sampled"
    )

    @model_validator(mode="after")
    def _aggregates_tokens(self) -> Self:
        if self.mixing == "add" and self.aggregation.startswith("seq"):
            raise ValueError("mixing 'add' takes means over tokens: set aggregation to token_mean, or mixing to replace")
        return self

    def build_memory(self) -> Memory:
        """The entropies of the last step's updates."""
        return {"entropies": []}

    def collect(
        self, network: Policy, reference: Policy | None, problems: Tensor, memory: Memory, step: int, means: Means, run: Run
    ) -> Batch:
        """GRPO's responses, then the right ones of some sampled at another temperature, from a stream of their own."""
        batch = super().collect(network, reference, problems, memory, step, means, run)
        entropies = memory["entropies"]
        entropy = sum(entropies) / len(entropies) if entropies else 0.0
        memory["entropies"] = []
        if self.entropy_estimator == "exact":
            memory["entropies"].append(memory.pop("exact"))
        if self.weight_values().reinforce_weight == 0:
            return batch
        hot = sampling_temperature(
            self.target_entropy, entropy, self.temperature_high, self.temperature_low, self.temperature_rule
        )
        found, samples = self.sample_again(network, reference, problems, hot, memory, run)
        if self.mixing == "replace":
            most = round(self.auxiliary_share * len(batch.tokens))
            found = found.rows(torch.arange(min(most, len(found.tokens)), device=run.device))
            if entropy > self.target_entropy:
                found = found.rows(torch.arange(len(found.tokens) // 2, device=run.device))
            batch = batch.rows(torch.arange(len(found.tokens), len(batch.tokens), device=run.device))
        means.add(temperature=torch.tensor(hot), auxiliary=torch.tensor(float(len(found.tokens))))
        return joined(batch, found, samples, self.environment_of(run.data).pad)

    def sample_again(
        self, network: Policy, reference: Policy | None, problems: Tensor, temperature: float, memory: Memory, run: Run
    ) -> tuple[Batch, int]:
        """The right ones of new responses to the first problems of a step, with advantages of 1, and their number before."""
        chosen = problems[: max(1, round(self.prompt_share * len(problems)))].repeat_interleave(self.group, 0)
        environment = self.environment_of(run.data)
        found = roll_out(network, environment, chosen, run.generator("auxiliary", run.device), temperature)
        advantages = group_advantages(found.rewards, self.group)
        kept = found.rewards == 1 if self.selection == "correct" else advantages > LEAST_ADVANTAGE
        looked_at, _ = self.look(network, reference, found, torch.ones_like(advantages), environment, memory, run)
        return looked_at.rows(kept.nonzero()[:, 0]), len(chosen)

    def annotate(self, batch: Batch, statistics: dict[str, Tensor], memory: Memory, step: int, run: Run) -> Batch:
        """Remembers the exact entropy, where that is the estimate."""
        if self.entropy_estimator == "exact":
            memory["exact"] = mean_of_workers(statistics["entropy"], run)
        return batch

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Seen]:
        """GRPO's loss on its responses, less α times the auxiliary objective."""
        if is_off(weights.reinforce_weight) or self.mixing == "replace" or not isinstance(batch, MixedBatch):
            return super().objective(model, batch, weights)
        own = replace(batch, mask=batch.mask * (1 - batch.auxiliary)[:, None])
        loss, seen = super().objective(model, own, weights)
        gain = auxiliary_objective(seen.ratio, batch.mask, batch.auxiliary, self.clip_low, self.clip_high, batch.samples)
        return loss - weights.reinforce_weight * gain, seen

    def remember(self, seen: Seen, batch: Batch, memory: Memory, run: Run) -> None:
        """The entropy estimate of an update."""
        if self.entropy_estimator == "sampled":
            estimate = aggregate(-seen.log_probs.detach(), batch.mask, "token_mean")
            memory["entropies"].append(mean_of_workers(estimate, run))

    def evaluate(self, network: Any, split: TensorDataset, run: Run) -> Metrics:
        """Also how far the entropy is from its target."""
        found = super().evaluate(network, split, run)
        return found | {"entropy_gap": abs(found["entropy"] - self.target_entropy)}


def joined(batch: Batch, more: Batch, samples: int, padding: int) -> MixedBatch:
    """The rows of two batches with the same prompts' length, the shorter responses filled up with a token."""
    length = max(batch.mask.shape[1], more.mask.shape[1])

    def both(name: str) -> Tensor | None:
        first, second = getattr(batch, name), getattr(more, name)
        if first is None or first.dim() == 1:
            return first if first is None else torch.cat([first, second])
        width = length + (batch.prompt if name == "tokens" else 0)
        return torch.cat(
            [pad(part, (0, width - part.shape[1]), value=padding if name == "tokens" else 0) for part in (first, second)]
        )

    names = [field.name for field in fields(Batch) if field.name != "longest"]
    auxiliary = torch.cat([torch.zeros_like(batch.advantages), torch.ones_like(more.advantages)])
    count = auxiliary.new_tensor(float(samples))
    columns: dict[str, Any] = {name: both(name) for name in names}
    return MixedBatch(**columns, longest=batch.longest, auxiliary=auxiliary, samples=count)
