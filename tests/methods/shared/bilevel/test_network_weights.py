"""Weights of a network's objective by gradient: against finite differences of problems solved tightly, and against a grid."""

import io
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar
from torch import nn
from torch.utils.data import TensorDataset

from regbench.methods.classification.comp_sum import CompSum
from regbench.methods.classification.confidence_penalty import ConfidencePenalty
from regbench.methods.classification.label_smoothing import LabelSmoothing
from regbench.methods.classification.task import Batch, ClassificationMethod
from regbench.methods.classification.trades import TRADES
from regbench.methods.errors import DivergedError
from regbench.methods.registry import all_methods
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.hypergradient import hypergradient
from regbench.methods.shared.bilevel.linear import conjugate_gradients
from regbench.methods.shared.bilevel.network import NetworkProblem, best_factor, relatively_damped
from regbench.methods.shared.bilevel.weights import HYPERGRADIENT, PRODUCTS, Range, WeightLearning, learnable
from regbench.methods.shared.data import Data, load

ROWS, HELD, SIZE, CLASSES, DECAY = 40, 25, 3, 4, 0.02


def clouds(seed, rows):
    """Overlapping classes in SIZE dimensions, so that the best linear classifier is finite and unsure."""
    random = np.random.default_rng(seed)
    y = random.integers(0, CLASSES, rows)
    return 1.5 * np.eye(CLASSES)[y][:, :SIZE] + random.standard_normal((rows, SIZE)), y


X, Y = clouds(0, ROWS)
V, U = clouds(1, HELD)


def cross_entropy(logits, y):
    shifted = logits - logits.max(1, keepdims=True)
    return np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(y)), y])


def fitted(smoothing):
    """The minimizer of smoothed cross-entropy + DECAY/2 ‖w‖², by SciPy: weights [K, D], then biases [K]."""
    target = (1 - smoothing) * np.eye(CLASSES)[Y] + smoothing / CLASSES

    def objective(w):
        logits = X @ w[: CLASSES * SIZE].reshape(CLASSES, SIZE).T + w[CLASSES * SIZE :]
        shifted = logits - logits.max(1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        slope = (np.exp(log_p) - target) / ROWS
        gradient = np.concatenate([(slope.T @ X).ravel(), slope.sum(0)]) + DECAY * w
        return -(target * log_p).sum(1).mean() + DECAY / 2 * w @ w, gradient

    options = {"gtol": 1e-12, "ftol": 1e-16, "maxiter": 10_000, "maxfun": 100_000}
    return minimize(objective, np.zeros(CLASSES * (SIZE + 1)), jac=True, method="L-BFGS-B", options=options).x


def held_out_loss(smoothing, *, calibrated):
    w = fitted(smoothing)
    logits = V @ w[: CLASSES * SIZE].reshape(CLASSES, SIZE).T + w[CLASSES * SIZE :]
    if not calibrated:
        return cross_entropy(logits, U)
    return minimize_scalar(lambda t: cross_entropy(math.exp(t) * logits, U), bounds=(-4, 4), options={"xatol": 1e-10}).fun


def batch(x, y):
    noise = torch.Generator().manual_seed(0)
    return Batch(torch.as_tensor(x), torch.as_tensor(y), torch.arange(len(y)), CLASSES, 1, 1, None, noise)


def linear_problem(smoothing, parts=1, *, calibrated=False):
    network = nn.Linear(SIZE, CLASSES, dtype=torch.float64)
    w = torch.as_tensor(fitted(smoothing))
    network.load_state_dict({"weight": w[: CLASSES * SIZE].reshape(CLASSES, SIZE), "bias": w[CLASSES * SIZE :]})
    limits = Range(0.0, 0.5, log=False)
    return NetworkProblem(
        LabelSmoothing(),
        network,
        torch.optim.SGD(network.parameters(), lr=1.0, weight_decay=DECAY),
        [batch(X[rows], Y[rows]) for rows in np.array_split(np.arange(ROWS), parts)],
        (torch.as_tensor(V), torch.as_tensor(U)),
        torch.tensor([limits.coordinate(smoothing)], dtype=torch.float64),
        lambda theta: {"smoothing": limits.weight(theta[0])},
        calibrated=calibrated,
    )


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("smoothing", [0.05, 0.3])
@pytest.mark.parametrize("parts", [1, 3])
def test_the_hypergradient_is_that_of_finite_differences(smoothing, calibrated, parts):
    problem = linear_problem(smoothing, parts, calibrated=calibrated)
    x, theta = problem.x0, problem.theta0
    assert problem.lower_gradient(x, theta).norm() < 1e-7
    assert problem.upper(x, theta).item() == pytest.approx(held_out_loss(smoothing, calibrated=calibrated), rel=1e-8)
    zero = torch.zeros(1, dtype=torch.float64)
    found = hypergradient(problem, x, theta, zero, 1e-12, torch.zeros_like(x), conjugate_gradients, 500, certify=False).z.item()
    step = 2e-3
    above, below = (held_out_loss(smoothing + sign * step, calibrated=calibrated) for sign in (1, -1))
    # The coordinate is 1 where the weight is 0.5.
    assert found == pytest.approx(0.5 * (above - below) / (2 * step), rel=1e-3)


def test_damping_hardly_changes_a_well_conditioned_hypergradient():
    problem = linear_problem(0.1)
    x, theta = problem.x0, problem.theta0
    exact, damped = (
        hypergradient(problem, x, theta, torch.zeros(1), tolerance, torch.zeros_like(x), solver, 50, certify=False)
        for solver, tolerance in ((conjugate_gradients, 1e-12), (relatively_damped, 0.0))
    )
    assert damped.z.item() == pytest.approx(exact.z.item(), rel=0.3)
    assert damped.iterations < exact.iterations


def network_problem(method, parts=1):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(SIZE, 5), nn.Tanh(), nn.Linear(5, CLASSES)).double()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, weight_decay=DECAY)
    batches = [batch(X[rows], Y[rows]) for rows in np.array_split(np.arange(ROWS), parts)]
    held_out, theta = (torch.as_tensor(V), torch.as_tensor(U)), torch.zeros(0, dtype=torch.float64)
    return NetworkProblem(method, network, optimizer, batches, held_out, theta, lambda theta: {}, calibrated=False)


def gauss_newton(problem, inputs, loss):
    """Jᵀ (∇²ℓ) J + DECAY I, [P, P], from the matrices themselves; ℓ of the stacked outputs of all inputs."""
    everything = torch.cat(inputs)
    J = torch.autograd.functional.jacobian(lambda x: problem.model(x)(everything).flatten(), problem.x0)[:, 0]
    outputs = problem.model(problem.x0)(everything).detach()
    H = torch.autograd.functional.hessian(lambda flat: loss(flat.view_as(outputs)), outputs.flatten())
    return J.T @ H @ J + DECAY * torch.eye(J.shape[1], dtype=torch.float64)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("method", [LabelSmoothing(), ConfidencePenalty(penalty=0.4), CompSum(tau=1.4, rho=0.7)])
def test_the_product_is_that_of_the_gauss_newton_matrix(method, parts):
    problem, data = network_problem(method, parts), batch(X, Y)
    expected = gauss_newton(problem, [data.x], lambda out: method.objective(lambda _: out, data, method.weight_values())[0])
    v = torch.randn(1, len(expected), dtype=torch.float64)
    found = problem.hessian(problem.x0, problem.theta0)(v)
    assert torch.allclose(found[0], expected @ v[0], rtol=1e-10, atol=1e-12)


def test_an_attacked_input_is_held_fixed_in_the_product():
    method = TRADES(pgd_steps=2, beta=3.0)
    problem, data, inputs = network_problem(method), batch(X, Y), []

    def watched(x):
        inputs.append(x.detach())
        return problem.model(problem.x0)(x)

    problem.objective(watched, data, problem.theta0)

    def loss(out):
        log_p, log_q = (half.log_softmax(1) for half in out.split(ROWS))
        divergence = (log_p.exp() * (log_p - log_q)).sum(1).mean()
        return nn.functional.cross_entropy(out[:ROWS], data.y) + 3.0 * divergence

    assert not torch.equal(inputs[0], inputs[-1])
    expected = gauss_newton(problem, [inputs[0], inputs[-1]], loss)
    v = torch.randn(1, len(expected), dtype=torch.float64)
    assert torch.allclose(problem.hessian(problem.x0, problem.theta0)(v)[0], expected @ v[0], rtol=1e-9, atol=1e-11)


def test_the_best_factor_is_found_where_there_is_one_and_bounded_where_there_is_none():
    logits, y = torch.as_tensor(V @ np.ones((SIZE, CLASSES)) + np.eye(CLASSES)[(U + (np.arange(HELD) % 3 == 0)) % CLASSES]), U
    best = minimize_scalar(lambda t: cross_entropy(math.exp(t) * logits.numpy(), y), bounds=(-4, 4), options={"xatol": 1e-9})
    assert best_factor(logits, torch.as_tensor(y)) == pytest.approx(math.exp(best.x), rel=1e-5)
    right = nn.functional.one_hot(torch.arange(4), 4).double()
    assert best_factor(right, torch.arange(4)) == pytest.approx(math.exp(8))
    assert best_factor(-right, torch.arange(4)) == pytest.approx(math.exp(-8))


@pytest.mark.parametrize(("limits", "weight", "coordinate"), [((0.0, 0.5, False), 0.1, 0.2), ((0.1, 10.0, True), 1.0, 0.5)])
def test_a_range_has_a_coordinate_on_its_own_scale(limits, weight, coordinate):
    found = Range(*limits)
    assert found.coordinate(weight) == pytest.approx(coordinate)
    assert found.weight(torch.tensor(coordinate, dtype=torch.float64)).item() == pytest.approx(weight)


class Linear(ClassificationMethod):
    """A network without hidden layer."""

    def build_model(self, data):
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(data.meta["shape"]), data.meta["classes"]))


def small():
    """300 digits, so that many trainings take a second."""
    digits = load("digits_noisy")
    return Data("small", TensorDataset(*digits.train[:300]), digits.validation, digits.test, digits.meta)


class Penalized(Linear, ConfidencePenalty):
    """Its weight is best off for the likelihood, and not for the accuracy."""


class Robust(Linear, CompSum):
    """Its weight is best between its limits, because labels are wrong."""


PENALTY, TAU = {"penalty": Range(0.0, 2.0, log=False)}, {"tau": Range(1.0, 2.0, log=False)}


def learning(rounds, objective="nll", **settings):
    method = Robust(**{"epochs": 20, "learning_rate": 0.2, "weight_decay": 1e-2} | settings)
    return WeightLearning(method, TAU, rounds, objective)


def test_the_learned_weight_is_near_the_optimum_of_a_grid():
    data, grid = small(), {}
    for tau in np.linspace(1, 2, 11):
        *_, last = learning(8, tau=tau).method.train(Run(data))
        grid[tau] = last["val/nll"]
    best = min(grid, key=grid.get)
    assert 1 < best < 2
    *_, last = learning(8).train(Run(data))
    assert last["learned/tau"] == pytest.approx(best, abs=0.1)
    assert last["val/nll"] <= min(grid.values()) * 1.01


def test_each_round_tells_what_was_tried_what_is_best_and_what_it_cost():
    found = list(learning(6).train(Run(small())))
    assert len(found) == 6
    losses = [metrics["learn/upper_loss"] for metrics in found]
    for number, metrics in enumerate(found, start=1):
        best = min(range(number), key=lambda index: losses[index])
        assert metrics["learned/tau"] == found[best]["weight/tau"]
        # Cross-entropy is what nll is; it is that of the best iteration so far.
        assert metrics["val/nll"] == pytest.approx(losses[best], rel=1e-5)
        assert metrics["learn/upper_iterations"] == number
        assert metrics["learn/cost"] == number * (20 + HYPERGRADIENT)
        assert metrics["learn/linear_iterations"] <= number * PRODUCTS
        assert 1 <= metrics["weight/tau"] <= 2
        assert not [name for name in metrics if name.startswith("test/")]
    assert found[0]["weight/tau"] == 1.0


def test_learning_resumes_bit_for_bit():
    data, checkpoint, found = small(), None, []
    for _ in range(5):
        run = Run(data, checkpoint=checkpoint)
        found.append(next(iter(learning(5, "accuracy").train(run))))
        file = io.BytesIO()
        torch.save(run.state(), file)
        file.seek(0)
        checkpoint = torch.load(file, weights_only=True)
    assert found == list(learning(5, "accuracy").train(Run(data)))


def test_a_weight_that_can_move_no_more_costs_no_more():
    """The likelihood gains nothing from the penalty: it goes to 0, its limit, and stays there."""
    method = Penalized(epochs=10, learning_rate=0.2, penalty=1.0)
    found = list(WeightLearning(method, PENALTY, 7, "nll").train(Run(small())))
    assert found[-1]["weight/penalty"] == 0.0
    assert found[-1] == found[-2]
    assert found[-1]["learn/upper_iterations"] < 7


class Fragile(Penalized):
    """Its training diverges where the weight is below 0.75."""

    def objective(self, model, batch, weights):
        loss, logits = super().objective(model, batch, weights)
        return (loss if weights.penalty >= 0.75 else loss * math.nan), logits


def test_where_training_diverges_learning_goes_back_and_on():
    method = Fragile(epochs=5, learning_rate=0.2, penalty=1.0)
    found = list(WeightLearning(method, PENALTY, 5, "nll").train(Run(small())))
    tried = [metrics["weight/penalty"] for metrics in found]
    assert min(tried) < 0.75
    assert all(metrics["learned/penalty"] >= 0.75 for metrics in found)
    assert all(math.isfinite(value) for metrics in found for value in metrics.values())
    assert tried[tried.index(min(tried)) + 1] > min(tried)


def test_learning_that_starts_where_training_diverges_says_so():
    method = Fragile(epochs=2, penalty=0.5)
    with pytest.raises(DivergedError, match="start elsewhere"):
        next(iter(WeightLearning(method, PENALTY, 3, "nll").train(Run(small()))))


def test_which_methods_can_be_learned():
    found = {slug: learnable(method) for slug, method in all_methods().items() if slug in KNOWN}
    assert {slug: learned.how for slug, learned in found.items()} == KNOWN
    assert "memory" in found["ps_kd"].why_not["final_alpha"]
    assert "not differentiable" in found["mixup"].why_not["alpha"]
    assert "has no weights" in found["cross_entropy"].reason


KNOWN = dict.fromkeys(("label_smoothing", "confidence_penalty", "comp_sum", "trades", "adversarial_comp_sum"), "approximately")
KNOWN |= dict.fromkeys(("weighted_logistic_regression", "total_variation", "field_of_experts"), "exactly")
KNOWN |= dict.fromkeys(("ps_kd", "mixup", "crrelu", "sparse_router", "sinkhorn", "manifold_entropy_gan", "cross_entropy"), "no")
