"""Input-convex networks ψ whose gradients are proximal operators (Fang et al., ICLR 2024; Amos et al., ICML 2017)."""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, softplus


class Potential(nn.Module):
    """A convex function ψ of each sample; called as a module it gives the gradient f = ∇ψ, one sample at a time.

    A continuous f is a proximal operator, of a regularizer that need not be convex, if and only if it is the gradient of a
    convex function. ψ(y) = w·z_K + α ‖y‖², z₁ = φ(W₀y + b₀), z_(k+1) = φ(W_k z_k + V_k y + b_k), where φ is the softplus
    log(1 + e^(βt)) / β and all entries of w and of W_k, k ≥ 1, are kept nonnegative by ``project`` after each step.

    Args:
        softplus_beta: β; the larger, the closer to a rectifier.
    """

    def __init__(self, softplus_beta: float) -> None:
        super().__init__()
        self.softplus_beta = softplus_beta

    @abstractmethod
    def body(self, y: Tensor) -> Tensor:
        """ψ without its strongly convex part, ``[N]``, of inputs ``[N, ...]``."""

    @abstractmethod
    def nonnegative(self) -> list[nn.Parameter]:
        """W and W_k, k ≥ 1."""

    def activate(self, z: Tensor) -> Tensor:
        """φ."""
        return softplus(z, self.softplus_beta)

    def scalar(self, y: Tensor, strong_convexity: float | Tensor = 0.0) -> Tensor:
        """ψ ``[N]`` with α ``strong_convexity``, as released: 2α is the modulus of strong convexity."""
        return self.body(y) + strong_convexity * y.flatten(1).square().sum(1)

    def forward(self, y: Tensor, strong_convexity: float | Tensor = 0.0) -> Tensor:
        """f(y) = ∇ψ(y), shaped like y; differentiable in y and all parameters where gradients are enabled."""
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            y = y if y.requires_grad else y.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.body(y).sum(), y, create_graph=wanted)
        return gradient + 2 * strong_convexity * y if wanted else gradient + 2 * strong_convexity * y.detach()

    @torch.no_grad()
    def project(self) -> None:
        """Sets negative entries of what must be nonnegative to 0."""
        for parameter in self.nonnegative():
            parameter.clamp_(min=0)

    @torch.no_grad()
    def start(self, mean: float, std: float) -> None:
        """Draws what must be nonnegative from exp(N(mean, std²)); released for images: -10 and 0.1."""
        for parameter in self.nonnegative():
            parameter.normal_(mean, std).exp_()


class DensePotential(Potential):
    """For vectors ``[N, D]``, with v·y added to ψ: the network of the one-dimensional experiment.

    Args:
        inputs: D.
        hidden: width.
        layers: hidden-to-hidden layers, one less than activations.
        softplus_beta: β.
    """

    def __init__(self, inputs: int, hidden: int = 50, layers: int = 4, softplus_beta: float = 10.0) -> None:
        super().__init__(softplus_beta)
        self.first = nn.Linear(inputs, hidden, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(layers))
        self.last = nn.Linear(hidden, 1, bias=False)
        self.skips = nn.ModuleList(nn.Linear(inputs, hidden) for _ in range(layers))
        # A constant of ψ has no gradient.
        self.last_skip = nn.Linear(inputs, 1, bias=False)

    def body(self, y: Tensor) -> Tensor:
        """ψ without its strongly convex part, ``[N]``."""
        z = self.activate(self.first(y))
        for layer, skip in zip(self.hidden, self.skips, strict=True):
            z = self.activate(layer(z) + skip(y))
        return (self.last(z) + self.last_skip(y))[:, 0]

    def nonnegative(self) -> list[nn.Parameter]:
        """All weights but those that see y."""
        return [weight for part in (self.hidden, self.last) for weight in part.parameters()]


class ConvolutionalPotential(Potential):
    """For images ``[N, C, S, S]``: 3 x 3 convolutions with strides 1, 2, 1, 2, …, a dense layer of 64 units, their sum.

    Each later layer also sees y, shrunken bilinearly to the size of what it is given. With ``depth`` 4 and no ``first_bias`` it
    is the released network for MNIST (S = 28, hidden 64, β = 10), with 6 and on that for 128 x 128 (hidden 256, β = 100).

    Args:
        channels: C.
        size: S.
        hidden: channels of the convolutions.
        depth: convolutions.
        softplus_beta: β.
        first_bias: whether the first convolution has a bias.
    """

    def __init__(
        self, channels: int, size: int, hidden: int, depth: int = 4, softplus_beta: float = 10.0, first_bias: bool = False
    ) -> None:
        super().__init__(softplus_beta)
        strides = [1 + place % 2 for place in range(depth)]
        for stride in strides:
            size = -(-size // stride)
        self.first = nn.Conv2d(channels, hidden, 3, padding=1, bias=first_bias)
        self.convolutions = nn.ModuleList(nn.Conv2d(hidden, hidden, 3, stride, 1, bias=False) for stride in strides[1:])
        self.dense = nn.Conv2d(hidden, 64, size, bias=False)
        self.last = nn.Linear(64, 1, bias=False)
        self.skips = nn.ModuleList(nn.Conv2d(channels, hidden, 3, stride, 1) for stride in strides[1:])
        self.dense_skip = nn.Conv2d(channels, 64, size)

    def body(self, y: Tensor) -> Tensor:
        """ψ without its strongly convex part, ``[N]``."""
        z = self.activate(self.first(y))
        for layer, skip in zip((*self.convolutions, self.dense), (*self.skips, self.dense_skip), strict=True):
            z = self.activate(layer(z) + skip(interpolate(y, z.shape[2:], mode="bilinear")))
        return self.last(z.mean((2, 3)))[:, 0]

    def nonnegative(self) -> list[nn.Parameter]:
        """All weights but those that see y."""
        return [weight for part in (self.convolutions, self.dense, self.last) for weight in part.parameters()]
