"""What a training costs without its evaluation: processor time between optimizer steps."""

import time
from itertools import groupby

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from regbench.methods.method import Method
from regbench.methods.run import Run


def training_seconds(method: Method, run: Run) -> float:
    """Processor seconds that a training spends on its optimizer steps, from the first one to the last one of each round.

    Evaluations, which lie between rounds, and what they optimize themselves (attacks, say) are left out. So is what precedes a
    round's first step, for which as much is added as another step of the round takes. A method that hands no optimizer to
    ``run.restore``, or takes one step a round, has nothing that tells its training from its evaluation: then all counts.
    """
    steps: list[tuple[int, float]] = []

    def note(optimizer: Optimizer, *_: object) -> None:
        if any(optimizer is part for part in run.parts):
            steps.append((run.round, time.process_time()))

    hook, began = register_optimizer_step_post_hook(note), time.process_time()
    try:
        for _ in method.train(run):
            pass
    finally:
        hook.remove()
    whole, total = time.process_time() - began, 0.0
    for _, found in groupby(steps, key=lambda step: step[0]):
        moments = [moment for _, moment in found]
        if len(moments) == 1:
            return whole
        total += (moments[-1] - moments[0]) * len(moments) / (len(moments) - 1)
    return total or whole
