"""Noise masks from one fixed distribution: is a learned policy needed?"""

import math
from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Beta
from torch.nn.functional import cross_entropy

from regbench.methods.method import Paper, hyperparameter
from regbench.methods.mixed_modality.masking import MaskingMethod
from regbench.methods.run import Run


class RandomMask(MaskingMethod):
    """Pre-trains with plain cross-entropy on images under masks of independent Beta(e^c, e^c) cells, whatever the image.

    The competitor that tells whether the policy of ``noise_mask`` adds anything to the noise itself.
    """

    paper: ClassVar[Paper | None] = None

    log_concentration: float = hyperparameter(
        0.5, may_change=True, help="logarithm c of both parameters of a cell's Beta distribution"
    )

    def heat(
        self, model: nn.Module, policy: nn.Module | None, x: Tensor, y: Tensor, run: Run
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Draws the masks' cells."""
        if self.mask_strength == 0:
            return super().heat(model, policy, x, y, run)
        concentration = torch.full((len(x), self.grid_size**2), math.exp(self.log_concentration), device=x.device)
        cells = Beta(concentration, concentration).sample()
        return self.objective(model, (x, y, cells), self.weight_values())[0], {}

    def objective(
        self, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], weights: SimpleNamespace
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy on images ``[B, C, H, W]`` with labels ``[B]`` under masks of cells ``[B, M]``, and the logits."""
        x, y, cells = batch
        logits = model(self.masked(x, cells, weights.mask_strength))
        return cross_entropy(logits, y), logits
