import math

import numpy as np
import ot
import pytest
import torch
from scipy.linalg import sqrtm
from torch.nn.functional import cross_entropy

from regbench.methods.method import is_off
from regbench.methods.representation.contrastive_coding import ContrastiveCoding
from regbench.methods.representation.dependency import contrastive_objective, wasserstein_objective
from regbench.methods.representation.networks import PairEncoder, encoder
from regbench.methods.representation.task import Batch
from regbench.methods.representation.wasserstein_dependency import WassersteinDependency
from regbench.methods.run import Run

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
SCORES = [[2, 0.5, -1], [0, 1.5, 0.3], [-0.5, 0.2, 1]]


# Measures


@DTYPES
def test_objectives_of_a_batch(dtype):
    scores = torch.tensor(SCORES, dtype=dtype)
    found = contrastive_objective(scores)
    assert found.dtype == dtype
    assert found.item() == pytest.approx(-0.392386, abs=1e-6)
    assert found.item() == pytest.approx(-cross_entropy(scores, torch.arange(3)).item(), abs=1e-7)
    assert (found + math.log(3)).item() == pytest.approx(0.706226, abs=1e-6)
    assert wasserstein_objective(scores).item() == pytest.approx(1.583333, abs=1e-6)


def test_the_contrastive_bound_is_below_log_b_and_below_the_difference_of_means():
    stream = torch.Generator().manual_seed(0)
    for size in (2, 5, 20):
        scores = 3 * torch.randn(size, size, generator=stream, dtype=torch.float64)
        bound = contrastive_objective(scores) + math.log(size)
        assert bound <= math.log(size)
        assert bound <= (size - 1) / size * wasserstein_objective(scores) + 1e-12


def exact(joint, x, y):
    """W₁ between a joint distribution ``[A, B]`` of points and the product of its marginals, by linear programming."""
    points = np.array([[*a, *b] for a in x for b in y])
    cost = np.linalg.norm(points[:, None] - points, axis=2)
    return ot.emd2(joint.ravel(), np.outer(joint.sum(1), joint.sum(0)).ravel(), cost)


LINE = np.arange(4.0)[:, None]


@pytest.mark.parametrize(
    ("joint", "points", "distance"),
    [
        (np.eye(2) / 2, LINE[:2], 0.5),
        (np.eye(2) / 2, 10 * LINE[:2], 5.0),
        (np.full((2, 2), 0.25), LINE[:2], 0.0),
        (np.array([[0.45, 0.05], [0.05, 0.45]]), LINE[:2], 0.4),
        (np.array([[0.375, 0.125], [0.125, 0.375]]), LINE[:2], 0.25),
        (np.array([[0.3, 0.1], [0.1, 0.5]]), LINE[:2], 0.28),
        (np.eye(4) / 4, LINE, 1.081285),
        (np.eye(4) / 4, np.eye(4), 1.060660),
    ],
)
def test_known_dependencies(joint, points, distance):
    assert exact(joint, points, points) == pytest.approx(distance, abs=1e-6)


@pytest.mark.parametrize("points", [LINE, np.eye(4), np.random.default_rng(0).normal(size=(6, 2))])
def test_the_best_lipschitz_critic_attains_the_distance(points):
    """All products of a batch, the pairs among them, are its product measure: (B - 1) / B times the objective is the dual."""
    size = len(points)
    pairs = np.array([[*a, *b] for a in points for b in points])
    cost = np.linalg.norm(pairs[:, None] - pairs, axis=2)
    together = np.eye(size).ravel() / size
    distance, log = ot.emd2(together, np.full(size**2, 1 / size**2), cost, log=True)
    # The potential of the product measure, made Lipschitz everywhere.
    scores = torch.from_numpy((cost - log["v"]).min(1).reshape(size, size))
    assert (size - 1) / size * wasserstein_objective(scores).item() == pytest.approx(distance, abs=1e-9)
    assert (contrastive_objective(scores) + math.log(size)).item() <= distance + 1e-12


@pytest.mark.parametrize(("rho", "expected"), [(0.5, 0.369184), (0.9, 0.781495)])
def test_gaussian_dependency_is_below_its_bures_distance(rho, expected):
    covariance = np.array([[1, rho], [rho, 1]])
    bures = math.sqrt(4 - 2 * np.trace(sqrtm(covariance)))
    assert bures == pytest.approx(expected, abs=1e-5)
    random = np.random.default_rng(0)
    x = random.multivariate_normal([0, 0], covariance, size=300)
    y = np.stack([x[:, 0], random.permutation(x[:, 1])], 1)
    # An empirical distance is biased upwards, by that of two samples of one distribution.
    cost = np.linalg.norm(x[:, None] - y, axis=2)
    noise = np.linalg.norm(x[:, None] - random.multivariate_normal([0, 0], covariance, size=300), axis=2)
    uniform = np.full(300, 1 / 300)
    assert ot.emd2(uniform, uniform, cost) <= bures + ot.emd2(uniform, uniform, noise)


# The method


def batch(rows=6, side=8):
    stream = torch.Generator().manual_seed(0)
    x, y = (torch.rand(rows, 1, side, side, generator=stream) for _ in range(2))
    share = torch.rand(rows, generator=stream)
    return Batch(x, y, torch.zeros(rows, 1, dtype=torch.int64), share, torch.randperm(rows, generator=stream))


@pytest.mark.parametrize("location", ["interpolate", "data"])
@pytest.mark.parametrize("critic", ["dot", "bilinear"])
def test_the_penalty_is_taken_pair_by_pair(location, critic):
    given = batch()
    torch.manual_seed(1)
    model = PairEncoder("dense", (1, 8, 8), 4, 8, 5, critic)
    if model.matrix is not None:
        torch.nn.init.normal_(model.matrix)
    method = WassersteinDependency(gradient_penalty_weight=0.7, lipschitz_constant=0.5, gp_location=location)
    loss, found = method.objective(model, given, method.weight_values())
    penalties = []
    for row in range(6):
        share = given.share[row] if location == "interpolate" else 1.0
        x = given.x[row : row + 1].clone().requires_grad_()
        y = (share * given.y[row] + (1 - share) * given.y[given.order[row]])[None].clone().requires_grad_()
        embedded = model(x, y)
        slopes = torch.autograd.grad((embedded.x @ embedded.y.T).sum(), (x, y))
        penalties.append((torch.cat([slope.flatten() for slope in slopes]).norm() - 0.5) ** 2)
    plain = -contrastive_objective(model(given.x, given.y).x @ model(given.x, given.y).y.T)
    assert loss.item() == pytest.approx((plain + 0.7 * torch.stack(penalties).mean()).item(), rel=1e-4)
    assert found.y.shape == (6, 5)


def test_one_sided_penalties_let_flat_critics_pass():
    given = batch()
    model = PairEncoder("dense", (1, 8, 8), 4, 8, 5, "dot")
    method = WassersteinDependency(penalty_sides="one", lipschitz_constant=100.0)
    loss, found = method.objective(model, given, method.weight_values())
    assert loss.item() == pytest.approx(-contrastive_objective(found.x @ found.y.T).item(), rel=1e-6)


def test_the_difference_of_means_is_another_objective():
    given = batch()
    model = PairEncoder("dense", (1, 8, 8), 4, 8, 5, "dot")
    found = {}
    for dependency in ("wpc", "wdm"):
        method = WassersteinDependency(dependency=dependency)
        found[dependency], embedded = method.objective(model, given, method.weight_values())
    scores = embedded.x @ embedded.y.T
    difference = contrastive_objective(scores) - wasserstein_objective(scores)
    assert (found["wdm"] - found["wpc"]).item() == pytest.approx(difference.item(), rel=1e-4)


def test_switched_off_it_is_contrastive_coding():
    off = WassersteinDependency(dependency="wdm").baseline()
    assert is_off(off.gradient_penalty_weight)
    given = batch()
    model = PairEncoder("convolutional", (1, 8, 8), 4, 8, 5, "dot")
    loss, _ = off.objective(model, given, off.weight_values())
    plain, _ = ContrastiveCoding().objective(model, given, ContrastiveCoding().weight_values())
    assert torch.equal(loss, plain)


def test_a_penalized_critic_has_the_slope_asked_for():
    settings = {"architecture": "dense", "hidden_dim": 16, "embedding_dim": 8, "iterations": 120, "report_every": 120}
    slopes = {}
    for weight in (0.0, 10.0):
        method = WassersteinDependency(**settings, gradient_penalty_weight=weight, probed=50)
        run = Run("spatial_digits_1")
        for _ in method.train(run):
            pass
        network = method.build_model(run.data)
        network.load_state_dict(run.state()["state"]["model"])
        x, y, _ = (tensor[:200] for tensor in run.data.validation.tensors)
        x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
        found = network(x, y)
        gradients = torch.autograd.grad((found.x * found.y).sum(), (x, y))
        slopes[weight] = torch.cat([gradient.flatten(1) for gradient in gradients], 1).norm(dim=1).mean().item()
    assert slopes[0.0] > 2
    assert slopes[10.0] == pytest.approx(1, abs=0.4)


def test_encoders_take_sides_that_are_no_multiple_of_four():
    for side in (8, 9, 10, 11):
        assert encoder("convolutional", (2, side, side), 4, 8, 5)(torch.rand(3, 2, side, side)).shape == (3, 5)
