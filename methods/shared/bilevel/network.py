"""The bilevel problem of a network whose training objective has weights: nothing about it is certified."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from regbench.methods.classification.task import Batch, ClassificationMethod, Logits
from regbench.methods.shared.bilevel.linear import LinearSolution, damped_conjugate_gradients
from regbench.methods.shared.bilevel.problem import BilevelProblem, Operator
from regbench.methods.shared.bilevel.samples import dot, norm

# Rows whose graph is kept in memory at a time.
ROWS_AT_ONCE = 1024

# The best factor of the logits is sought between e^-8 and e^8, to double precision.
LOG_FACTOR = 8.0
BISECTIONS = 60

# Damping of the adjoint system relative to the curvature along its right-hand side. An early-stopped training does not resolve
# the flat directions that a smaller one would follow.
DAMPING = 0.01
REDUCTION = 0.01


class NetworkProblem(BilevelProblem):
    """h(x, θ) = objective of the training rows + ½ Σ_p d_p x_p², and g = a loss of held-out rows; x a network's parameters.

    d are the decays of the optimizer, so that h is what training minimizes. In the place of the Hessian of h stands its
    generalized Gauss-Newton matrix Σ Jᵀ (∇²ℓ) J + diag(d), where ℓ is the objective as a function of the network's outputs and
    J the outputs' derivative: it leaves out the curvature of the network, is the Hessian itself for a linear one, and positive
    semidefinite where ℓ is convex.

    g is the cross-entropy, or the calibrated one, min_s CE(s · logits): a regularizer that only makes a network less confident
    leaves that as it is, as it does the accuracy. By the envelope theorem its gradient is that at the fixed best s.

    Args:
        method: gives the objective, a mean over the rows of a batch.
        network: in evaluation mode; its parameters are where x starts, ``[1, P]``.
        optimizer: knows the decays; each parameter is in one of its groups.
        batches: the training rows, in parts.
        held_out: inputs ``[V, *shape]`` and labels ``[V]``.
        theta: θ ``[m]``.
        weights: maps θ to the weights that it stands for, by name.
        calibrated: which g.
    """

    estimated: ClassVar[bool] = True

    def __init__(
        self,
        method: ClassificationMethod,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Sequence[Batch],
        held_out: tuple[Tensor, Tensor],
        theta: Tensor,
        weights: Callable[[Tensor], dict[str, Tensor]],
        *,
        calibrated: bool,
    ) -> None:
        self.method, self.network, self.batches = method, network, batches
        self.inputs, self.labels = held_out
        self.weights, self.theta0, self.calibrated = weights, theta, calibrated
        named = dict(network.named_parameters())
        decay = {id(p): float(group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
        self.shapes = {name: parameter.shape for name, parameter in named.items()}
        self.x0 = torch.cat([parameter.detach().flatten() for parameter in named.values()])[None]
        self.decays = torch.cat([self.x0.new_full((p.numel(),), decay[id(p)]) for p in named.values()])

    def model(self, x: Tensor) -> Logits:
        """The network with the parameters x."""
        parts = x[0].split([shape.numel() for shape in self.shapes.values()])
        parameters = {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
        return lambda inputs: functional_call(self.network, parameters, (inputs,))

    def objective(self, model: Logits, batch: Batch, theta: Tensor) -> Tensor:
        """The method's objective on a batch, with the same random numbers in every call."""
        batch = dataclasses.replace(batch, generator=batch.generator.clone_state())
        weights = SimpleNamespace(**vars(self.method.weight_values()) | self.weights(theta))
        return self.method.objective(model, batch, weights)[0]

    def shares(self) -> Iterator[tuple[float, Batch]]:
        """Each batch with its share of the rows."""
        total = sum(len(batch.y) for batch in self.batches)
        return ((len(batch.y) / total, batch) for batch in self.batches)

    def lower(self, x: Tensor, theta: Tensor) -> Tensor:
        """The lower objective h ``[1]``."""
        model = self.model(x)
        data = torch.stack([share * self.objective(model, batch, theta) for share, batch in self.shares()]).sum()
        return (data + (self.decays * x[0].square()).sum() / 2)[None]

    def upper(self, x: Tensor, theta: Tensor) -> Tensor:
        """The upper objective g ``[1]``."""
        logits = torch.cat([self.model(x)(part) for part in self.inputs.split(ROWS_AT_ONCE)])
        factor = best_factor(logits, self.labels) if self.calibrated else 1.0
        return cross_entropy(factor * logits, self.labels)[None]

    def strong_convexity(self, theta: Tensor) -> float:
        """What the decays alone give."""
        return self.decays.min().item()

    def smoothness(self, theta: Tensor) -> float:
        """Unknown: 1, on which nothing depends here."""
        return 1.0

    def upper_gradients(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """∇_x g ``[1, P]``, part by part; g leaves θ unused."""
        with torch.no_grad():
            logits = torch.cat([self.model(x)(part) for part in self.inputs.split(ROWS_AT_ONCE)])
        factor = best_factor(logits, self.labels) if self.calibrated else 1.0
        gradient = torch.zeros_like(x)
        for inputs, labels in zip(self.inputs.split(ROWS_AT_ONCE), self.labels.split(ROWS_AT_ONCE), strict=True):
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                loss = cross_entropy(factor * self.model(leaf)(inputs), labels, reduction="sum") / len(self.labels)
                gradient += torch.autograd.grad(loss, leaf)[0]
        return gradient, torch.zeros_like(theta)

    @torch.enable_grad()
    def lower_gradient(self, x: Tensor, theta: Tensor) -> Tensor:
        """∇_x h ``[1, P]``, part by part."""
        gradient, leaf = self.decays * x.detach(), x.detach().requires_grad_()
        for share, batch in self.shares():
            gradient += share * torch.autograd.grad(self.objective(self.model(leaf), batch, theta.detach()), leaf)[0]
        return gradient

    @torch.enable_grad()
    def jacobian_transposed(self, x: Tensor, theta: Tensor, q: Tensor) -> Tensor:
        """Jᵀq ``[m]``, part by part."""
        leaf, theta = x.detach().requires_grad_(), theta.detach().requires_grad_()
        found = torch.zeros_like(theta, requires_grad=False)
        for share, batch in self.shares():
            (gradient,) = torch.autograd.grad(self.objective(self.model(leaf), batch, theta), leaf, create_graph=True)
            found += share * torch.autograd.grad(gradient, theta, q, materialize_grads=True)[0]
        return found

    def hessian(self, x: Tensor, theta: Tensor) -> Operator:
        """The product with the Gauss-Newton matrix; of several parts, each graph is built anew in every product."""
        if len(self.batches) == 1:
            only = self._curvature(x, theta, self.batches[0])
            return lambda v: only(v) + self.decays * v
        return lambda v: sum(
            (share * self._curvature(x, theta, batch)(v) for share, batch in self.shares()), start=self.decays * v
        )

    @torch.enable_grad()
    def _curvature(self, x: Tensor, theta: Tensor, batch: Batch) -> Operator:
        """The product with Σ Jᵀ (∇²ℓ) J of a batch."""
        leaf = x.detach().requires_grad_()
        network, calls = self.model(leaf), list[Tensor]()

        def tapped(inputs: Tensor) -> Tensor:
            calls.append(network(inputs))
            return calls[-1]

        loss = self.objective(tapped, batch, theta.detach())
        found = torch.autograd.grad(loss, calls, create_graph=True, allow_unused=True)
        # Calls on the way to an attack's inputs are no part of the loss.
        outputs = [call for call, slope in zip(calls, found, strict=True) if slope is not None]
        slopes = [slope for slope in found if slope is not None]
        seeds = [torch.zeros_like(output).requires_grad_() for output in outputs]
        # Linear in the seeds, so that its derivative in them is J.
        (pulled,) = torch.autograd.grad(outputs, leaf, seeds, create_graph=True)

        def product(v: Tensor) -> Tensor:
            pushed = torch.autograd.grad(pulled, seeds, v, retain_graph=True)
            bent = torch.autograd.grad(slopes, outputs, pushed, retain_graph=True, materialize_grads=True)
            return torch.autograd.grad(outputs, leaf, bent, retain_graph=True)[0]

        return product


def best_factor(logits: Tensor, labels: Tensor) -> float:
    """The s that minimizes CE(s · logits, labels), which is convex in s, for logits ``[B, K]`` and labels ``[B]``."""
    fixed = logits.detach().double()
    margin = fixed.gather(1, labels[:, None])[:, 0]
    low, high = -LOG_FACTOR, LOG_FACTOR
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        slope = (((math.exp(middle) * fixed).softmax(1) * fixed).sum(1) - margin).mean().item()
        low, high = (low, middle) if slope > 0 else (middle, high)
    return math.exp((low + high) / 2)


def relatively_damped(
    product: Operator, b: Tensor, start: Tensor, target: Tensor, smoothness: Tensor, max_iterations: int
) -> LinearSolution:
    """Damped conjugate gradients, with ζ relative to the curvature along b, until the residual is a hundredth of ‖b‖."""
    curvature = (dot(b, product(b)) / dot(b, b)).abs().nan_to_num()
    target = torch.maximum(target, REDUCTION * norm(b))
    damping = DAMPING * curvature.item()
    found = damped_conjugate_gradients(product, b, start, target, curvature, max_iterations - 1, damping=damping)
    return dataclasses.replace(found, iterations=found.iterations + 1)
