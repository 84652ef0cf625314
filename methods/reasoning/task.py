"""The reasoning task: chains of arithmetic that a policy writes in one turn, judged by how many samples are right."""

from typing import Any, ClassVar

from torch.utils.data import TensorDataset

from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.reinforcement.countdown import WAIT, Countdown
from regbench.methods.shared.reinforcement.estimators import majority_at_k, pass_at_k
from regbench.methods.shared.reinforcement.grpo import aggregate
from regbench.methods.shared.reinforcement.rollouts import roll_out
from regbench.methods.shared.reinforcement.task import PolicyMethod

TRACK = Track(
    name="reasoning",
    help="chains of arithmetic by a small language model, reinforced by whether they are right",
    metrics=(
        Metric("pass_32", "max"),
        Metric("pass_1", "max"),
        Metric("pass_8", "max"),
        Metric("majority_8", "max"),
        Metric("majority_32", "max"),
        Metric("entropy_gap", "min", needs="target_entropy"),
    ),
    data=("chain_countdown",),
    baseline="grpo",
    smoke={
        "layers": 1,
        "warm_steps": 700,
        "prompts": 8,
        "group": 8,
        "iterations": 4,
        "report_every": 2,
        "learning_rate": 1e-3,
        "evaluated": 2,
        # Of a few hundred tokens the lowest hundredth is noise.
        "low_percentile": 0.3,
    },
)

ENVIRONMENT = Countdown()


class ReasoningMethod(PolicyMethod):
    """Reinforces chains of arithmetic, and judges a policy by several samples for each held-out prompt.

    ``pass_k`` is the probability that one of k samples is right, without bias; ``majority_k`` that their most frequent value
    is. ``entropy`` is the mean of -log π of sampled tokens, ``waits`` how many steps a response takes back, ``length`` its
    tokens.
    """

    track: ClassVar[Track] = TRACK

    evaluated: int = hyperparameter(150, ge=1, help="held-out prompts that the policy is judged on, at most")
    samples: int = hyperparameter(32, ge=32, help="responses to each of them")

    def environment_of(self, data: Data) -> Countdown:
        """Chain countdown."""
        return ENVIRONMENT

    def evaluate(self, network: Any, split: TensorDataset, run: Run) -> Metrics:
        """Metrics on held-out prompts, the first ``evaluated`` of a split."""
        problems = run.tensors(split)[0][: self.evaluated]
        stream = run.generator(f"evaluation {run.split_name(split)}", run.device, shared=True)
        found = roll_out(network, ENVIRONMENT, problems.repeat_interleave(self.samples, 0), stream, self.temperature)
        correct = found.solved.unflatten(0, (-1, self.samples)).sum(1)
        answers = found.answers.unflatten(0, (-1, self.samples))
        truth = ENVIRONMENT.truth(problems)
        passed = {f"pass_{k}": pass_at_k(correct, self.samples, k).mean().item() for k in (1, 8, 32)}
        voted = {f"majority_{k}": majority_at_k(answers, truth, k, stream).mean().item() for k in (8, 32)}
        waits = (found.tokens == WAIT).sum(1).double().mean().item()
        entropy = aggregate(-found.log_probs, found.mask, "token_mean").item()
        return passed | voted | {"entropy": entropy, "waits": waits, "length": found.mask.sum(1).mean().item()}
