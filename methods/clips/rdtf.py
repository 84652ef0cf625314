"""RDTF: training under two masks, in an order from easy to hard that follows the training."""

from typing import Any, ClassVar

from torch import Tensor

from regbench.methods.clips.curriculum import Control, Gains, Losses, Selection, control, curriculum_level, selected
from regbench.methods.clips.dual_mask import DualMask
from regbench.methods.clips.masks import Catalogue
from regbench.methods.method import Metrics, Paper, hyperparameter, weight
from regbench.methods.run import Run

# Steps between two updates of the controller.
EVERY = 50


class RDTF(DualMask):
    """Draws what is asked of clips by how much is unknown: easy configurations first, up to a level that rises with progress.

    The level is a ramp (static entropy) plus κ times the output of a PID controller (adaptive entropy), whose error is the
    relative difference of a slow and a fast average of the loss. Masks, their patterns, the range of k and the controller's
    gains are the paper's; the masked loss, the entropy of a configuration, the level, the controller's error and how
    configurations are drawn are a reconstruction, since neither method section nor code could be read.

    With κ = 0, the linear curriculum; with the ramp at 0 too, training under two masks in no order.
    """

    paper: ClassVar[Paper | None] = DualMask.paper
    off_equals: ClassVar[str | None] = "dual_mask"

    proportional_gain: float = weight(
        5.0, off=0.0, ge=0, symbol="K_p", differentiable=False, help="of the controller, on its error"
    )
    integral_gain: float = weight(3.0, off=0.0, ge=0, symbol="K_i", differentiable=False, help="on the sum of its errors")
    derivative_gain: float = weight(1.3, off=0.0, ge=0, symbol="K_d", differentiable=False, help="on the change of its error")
    feedback_scale: float = weight(
        0.1,
        off=0.0,
        ge=0,
        symbol="κ",
        differentiable=False,
        help="of the controller's output in the level; 0: a ramp alone",
    )
    curriculum_fraction: float = weight(
        0.5, off=0.0, ge=0, le=1, symbol="T_c/T", differentiable=False, help="share of training in which the ramp rises"
    )
    smallest_level: float = hyperparameter(0.1, ge=0, le=1, help="D_min, the level at which training begins")
    selection: Selection = hyperparameter("hard", help="configurations above the level: never drawn, or seldom (soft)")

    def build_memory(self, found: Catalogue, run: Run) -> dict[str, Any]:
        """Averages of losses, the controller's state and its last output."""
        state = Control()
        return Losses.fresh(len(found.entropy), run.device) | {"total": state.total, "last": state.last, "output": 0.0}

    def level(self, step: int, memory: dict[str, Any]) -> float:
        """The level of the curriculum in a step, from 1."""
        progress = (step - 1) / self.iterations
        return curriculum_level(progress, self.curriculum_fraction, self.smallest_level, self.feedback_scale * memory["output"])

    def choices(self, lengths: Tensor, found: Catalogue, step: int, memory: dict[str, Any]) -> Tensor:
        """Up to the level."""
        level = self.level(step, memory)
        shares = found.shares[lengths]
        return shares if level >= 1 else selected(shares, found.entropy, level, self.selection)

    def remember(self, losses: Tensor, rows: Tensor, step: int, memory: dict[str, Any]) -> Metrics:
        """Takes in the losses, and from time to time lets the controller answer."""
        averages = Losses(memory)
        averages.add(losses, rows)
        if step % EVERY == 0:
            gains = Gains(self.proportional_gain, self.integral_gain, self.derivative_gain)
            before = Control(memory["total"], memory["last"])
            memory["output"], after = control(before, averages.improvement(), gains)
            memory |= after._asdict()
        return {"level": self.level(step, memory), "feedback": self.feedback_scale * memory["output"]}
