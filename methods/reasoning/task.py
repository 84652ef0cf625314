"""The reasoning task: chains of arithmetic that a policy writes in one turn, judged by how many samples are right."""

from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch.utils.data import TensorDataset

from regbench.methods.errors import ConfigError
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.reinforcement.countdown import Countdown
from regbench.methods.shared.reinforcement.estimators import majority_at_k, pass_at_k
from regbench.methods.shared.reinforcement.rollouts import roll_out
from regbench.methods.shared.reinforcement.task import SMALL, PolicyMethod
from regbench.methods.shared.reinforcement.text_problems import TextProblems

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
    data=("chain_countdown", "gsm8k", "competition_math", "deepscaler", "dapo_math", "openr1_math"),
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

COUNTDOWN = Countdown()
INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."
# Settings under which problems in words are asked.
Asked = tuple[str, int, int, str, int]


@lru_cache
def text_problems(*asked: *Asked) -> TextProblems:
    """The environment of problems in words, the same one for the same settings."""
    return TextProblems(*asked)


class ReasoningMethod(PolicyMethod):
    """Reinforces chains of arithmetic or problems in words, and judges a policy by several samples for each held-out prompt.

    ``pass_k`` is the probability that one of k samples is right, without bias; ``majority_k`` that their most frequent value
    is. ``entropy`` is the mean of -log π of sampled tokens, ``length`` a response's tokens, ``waits`` how many steps of
    arithmetic it takes back.
    """

    track: ClassVar[Track] = TRACK

    evaluated: int = hyperparameter(150, ge=1, help="held-out prompts that the policy is judged on, at most")
    samples: int = hyperparameter(32, ge=32, help="responses to each of them")
    at_once: int = hyperparameter(8192, ge=1, help="responses that are sampled together in the evaluation")
    prompt_tokens: int = hyperparameter(1024, ge=1, help="of a problem in words; longer ones are cut at the beginning")
    response_tokens: int = hyperparameter(1024, ge=1, help="of a solution in words, at most")
    instruction: str = hyperparameter(INSTRUCTION, help="what follows a problem in words")

    def environment_of(self, data: Data) -> Countdown | TextProblems:
        """Chain countdown, or problems in words for a language model.

        Raises:
            ConfigError: policy and data set do not speak the same language.
        """
        words = data.meta["environment"] == "texts"
        if words != (self.policy != SMALL):
            needs = (
                "are in words: set policy to hf:FOLDER" if words else "have a vocabulary of their own: leave policy at small"
            )
            raise ConfigError(f"problems of {data.name} {needs}")
        if not words:
            return COUNTDOWN
        return text_problems(self.policy, self.prompt_tokens, self.response_tokens, self.instruction, data.meta["text"])

    def evaluate(self, network: Any, split: TensorDataset, run: Run) -> Metrics:
        """Metrics on held-out prompts, the first ``evaluated`` of a split."""
        problems = run.tensors(split)[0][: self.evaluated]
        environment = self.environment_of(run.data)
        stream = run.generator(f"evaluation {run.split_name(split)}", run.device, shared=True)
        # Whole problems, whose answers are numbered together.
        parts = problems.split(max(1, self.at_once // self.samples))
        found = [
            roll_out(network, environment, part.repeat_interleave(self.samples, 0), stream, self.temperature) for part in parts
        ]
        correct = torch.cat([part.solved for part in found]).unflatten(0, (-1, self.samples)).sum(1)
        answers = torch.cat([part.answers for part in found]).unflatten(0, (-1, self.samples))
        truth = environment.truth(problems)
        passed = {f"pass_{k}": pass_at_k(correct, self.samples, k).mean().item() for k in (1, 8, 32)}
        voted = {f"majority_{k}": majority_at_k(answers, truth, k, stream).mean().item() for k in (8, 32)}
        tokens = torch.stack([part.mask.sum() for part in found]).sum()
        surprise = -torch.stack([part.log_probs.sum() for part in found]).sum()
        other = {"entropy": (surprise / tokens).item(), "length": tokens.item() / len(problems) / self.samples}
        return passed | voted | other | environment.statistics([part.tokens for part in found])
