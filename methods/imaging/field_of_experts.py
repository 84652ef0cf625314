"""Fields of experts: a regularizer of learned filters."""

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, pad

from regbench.methods.imaging.variational import Denoising, VariationalDenoiser
from regbench.methods.method import Paper, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.learning import LEARNER_HELP, LearnerName


class FieldOfExpertsProblem(Denoising):
    """h = ½ ‖x - y‖² + ½ e^θ₀ Σ_k e^θ_k Σ_p √((c_k * x)_p² + ν_k²) with ν_k = e^θ_(K+k) and filters c_k, the rest of θ.

    Images are reflected at their borders, so that a response has the size of the image.

    Args:
        noisy: y ``[N, 1, H, W]``.
        clean: x* ``[N, 1, H, W]``.
        theta0: ``[1 + 2K + K size²]``.
        filters: K.
        size: of a filter's side, odd.
    """

    def __init__(self, noisy: Tensor, clean: Tensor, theta0: Tensor, filters: int, size: int) -> None:
        super().__init__(noisy, clean, theta0)
        self.filters, self.size, self.margin = filters, size, size // 2

    def kernels(self, theta: Tensor) -> Tensor:
        """The filters ``[K, 1, size, size]``."""
        return theta[1 + 2 * self.filters :].reshape(self.filters, 1, self.size, self.size)

    def scales(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """One weight and one smoothing for each filter."""
        logs = theta[1 : 1 + 2 * self.filters].reshape(2, self.filters, 1, 1)
        return (theta[0] + logs[0]).exp(), logs[1].exp()

    def respond(self, x: Tensor, theta: Tensor) -> Tensor:
        """All correlations."""
        return conv2d(pad(x, (self.margin,) * 4, mode="reflect"), self.kernels(theta))

    def adjoint(self, r: Tensor, theta: Tensor) -> Tensor:
        """The transposed correlations, summed, with what left the image reflected back."""
        wide = conv_transpose2d(r, self.kernels(theta))
        return _fold(_fold(wide, self.margin).mT, self.margin).mT

    def largest_gain(self, theta: Tensor) -> Tensor:
        """At most four times max_ω Σ_k (w_k / ν_k) |ĉ_k(ω)|² over the frequencies of a padded image.

        Correlation within a padded image is part of a circular one of that size; padding repeats a pixel at most four times.
        """
        w, nu = self.scales(theta)
        shape = [length + 2 * self.margin for length in self.x0.shape[2:]]
        spectrum = torch.fft.rfft2(self.kernels(theta)[:, 0], s=shape).abs().square()
        return 4 * ((w / nu) * spectrum).sum(0).max()


class FieldOfExperts(VariationalDenoiser):
    """Penalizes the responses to a bank of filters (Roth and Black; here with smoothed absolute values as experts).

    x̂ = argmin ½ ‖x - y‖² + ½ w Σ_k w_k Σ_p √((c_k * x)_p² + ν_k²). The weights, the smoothing of each expert and the filters
    themselves are learned together, 2,449 numbers by default. Filters start as Xavier-normal noise with zero mean, so that
    learning is what makes the method; without a learner it shows what random filters do.
    """

    paper: ClassVar[Paper | None] = Paper("Fields of Experts", "Roth, Black", 2009, "International Journal of Computer Vision")

    learner: LearnerName = hyperparameter("maid", help=LEARNER_HELP)
    filters: int = hyperparameter(48, ge=1, help="K, experts")
    filter_size: Literal[3, 5, 7, 9] = hyperparameter(7, help="side of a filter in pixels")
    expert_weight: float = hyperparameter(0.05, gt=0, help="w_k at the start, the same for all experts")
    smoothing: float = hyperparameter(0.03, gt=0, help="ν_k at the start, the same for all experts")

    def start(self, run: Run) -> Tensor:
        """(log w, log w_k, log ν_k, c_k), with fresh filters."""
        size = (self.filters, 1, self.filter_size, self.filter_size)
        filters = torch.empty(size, dtype=torch.float64)
        torch.nn.init.xavier_normal_(filters, generator=run.generator("filters", shared=True))
        filters -= filters.mean((2, 3), keepdim=True)
        scalars = torch.tensor([self.regularization_weight, self.expert_weight, self.smoothing], dtype=torch.float64).log()
        return torch.cat([scalars.repeat_interleave(torch.tensor([1, self.filters, self.filters])), filters.flatten()])

    def pose(self, noisy: Tensor, clean: Tensor, theta0: Tensor) -> FieldOfExpertsProblem:
        """The problem of these pairs."""
        return FieldOfExpertsProblem(noisy, clean, theta0, self.filters, self.filter_size)


def _fold(wide: Tensor, margin: int) -> Tensor:
    """The transpose of reflecting rows: adds the first and last rows to those that they repeat."""
    inner = wide[..., margin:-margin, :].clone()
    inner[..., 1 : margin + 1, :] += wide[..., :margin, :].flip(-2)
    inner[..., -margin - 1 : -1, :] += wide[..., -margin:, :].flip(-2)
    return inner
