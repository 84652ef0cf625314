import pytest
import torch
from torch.nn.functional import softplus

from regbench.methods.shared.proximal.inversion import invert, invert_scalar, regularizer
from regbench.methods.shared.proximal.potentials import ConvolutionalPotential, DensePotential, Potential


def potential(kind, *, projected=True, spread=0.5):
    """With random weights, the nonnegative ones both signs before they are projected."""
    torch.manual_seed(0)
    network = DensePotential(3, 8, 2) if kind == "dense" else ConvolutionalPotential(2, 7, 4, first_bias=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, spread)
    if projected:
        network.project()
    return network.double()


def points(kind, count, seed=1):
    shape = (3,) if kind == "dense" else (2, 7, 7)
    return torch.randn(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def jacobian(network, y, alpha):
    found = torch.autograd.functional.jacobian(lambda v: network(v, alpha), y[None])
    return found.reshape(y.numel(), y.numel())


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_the_gradient_of_a_potential_is_a_proximal_operator(kind):
    """Symmetric Jacobian with eigenvalues of at least 2α, and monotone for pairs of points however far."""
    network, alpha = potential(kind), 0.01
    for y in points(kind, 3):
        matrix = jacobian(network, y, alpha)
        torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=1e-10)
        assert torch.linalg.eigvalsh(matrix).min() >= 2 * alpha - 1e-10
    first, second = points(kind, 200), 3 * points(kind, 200, seed=2)
    with torch.no_grad():
        rise = ((network(first, alpha) - network(second, alpha)) * (first - second)).flatten(1).sum(1)
    assert (rise >= 2 * alpha * (first - second).flatten(1).square().sum(1)).all()


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_without_the_projection_it_is_none(kind):
    network = potential(kind, projected=False)
    lowest = min(torch.linalg.eigvalsh(jacobian(network, y, 0.0)).min().item() for y in points(kind, 3))
    assert lowest < -1e-3


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_projecting_twice_is_projecting_once(kind):
    network = potential(kind, projected=False)
    assert min(parameter.min() for parameter in network.nonnegative()) < 0
    free = {id(p) for p in network.nonnegative()}
    others = [p.clone() for p in network.parameters() if id(p) not in free]
    network.project()
    once = [parameter.clone() for parameter in network.parameters()]
    assert min(parameter.min() for parameter in network.nonnegative()) == 0
    network.project()
    assert all(map(torch.equal, once, network.parameters()))
    assert all(map(torch.equal, others, (p for p in network.parameters() if id(p) not in free)))


def test_the_dense_network_is_the_recursion_of_the_paper():
    network, y = potential("dense"), points("dense", 5)
    z = softplus(y @ network.first.weight.T, 10)
    for layer, skip in zip(network.hidden, network.skips, strict=True):
        z = softplus(z @ layer.weight.T + y @ skip.weight.T + skip.bias, 10)
    expected = z @ network.last.weight[0] + y @ network.last_skip.weight[0] + 0.3 * (y**2).sum(1)
    torch.testing.assert_close(network.scalar(y, 0.3), expected)
    step = 1e-5 * torch.eye(3, dtype=torch.float64)
    slopes = torch.stack([(network.scalar(y + d, 0.3) - network.scalar(y - d, 0.3)) / 2e-5 for d in step], 1)
    torch.testing.assert_close(network(y, 0.3), slopes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("size", "depth", "channels", "bias"), [(28, 4, 1, False), (128, 6, 3, True)])
def test_convolutional_networks_have_the_released_sizes(size, depth, channels, bias):
    hidden = 64 if depth == 4 else 256
    network = ConvolutionalPotential(channels, size, hidden, depth, first_bias=bias)
    last = size // 2 ** (depth // 2)
    expected = 9 * channels * hidden + bias * hidden + (depth - 1) * 9 * hidden**2 + hidden * last**2 * 64 + 64
    expected += (depth - 1) * (9 * channels * hidden + hidden) + channels * last**2 * 64 + 64
    assert sum(p.numel() for p in network.parameters()) == expected
    network.start(-10.0, 0.1)
    logs = torch.cat([p.detach().log().flatten() for p in network.nonnegative()])
    assert logs.mean().item() == pytest.approx(-10, abs=0.01)
    assert logs.std().item() == pytest.approx(0.1, rel=0.02)


class SoftThreshold(Potential):
    """ψ = ½ Σ max(|y| - 1, 0)², whose gradient is the soft threshold, the proximal operator of the absolute value."""

    def __init__(self):
        super().__init__(1.0)

    def body(self, y):
        return (y.abs() - 1).clamp(min=0).square().flatten(1).sum(1) / 2

    def nonnegative(self):
        return []


class Quadratic(Potential):
    """ψ = a/2 ‖y‖², the gradient is ay, the proximal operator of ½ (1/a - 1) ‖x‖²."""

    def __init__(self, a):
        super().__init__(1.0)
        self.a = a

    def body(self, y):
        return self.a / 2 * y.flatten(1).square().sum(1)

    def nonnegative(self):
        return []


def test_the_soft_threshold_belongs_to_the_absolute_value():
    x = torch.tensor([[2.0], [-0.5], [0.7], [3.0]], dtype=torch.float64)
    y = torch.tensor([[3.0]], dtype=torch.float64)
    assert SoftThreshold()(y).item() == 2.0
    assert regularizer(SoftThreshold(), x[:1], y).item() == pytest.approx(2.0)
    found = invert(SoftThreshold(), x)
    torch.testing.assert_close(found, x + x.sign())
    torch.testing.assert_close(regularizer(SoftThreshold(), x, found), x.abs()[:, 0])


def test_bisection_inverts_scalars_and_ends_at_its_bound():
    x = torch.tensor([[2.0], [-0.5], [0.7], [3.0], [50.0]], dtype=torch.float64)
    found = invert_scalar(SoftThreshold(), x, bound=9.0)
    torch.testing.assert_close(found[:4], (x + x.sign())[:4])
    assert found[4].item() == pytest.approx(9.0)


@pytest.mark.parametrize("a", [0.25, 0.8])
def test_a_shrinkage_belongs_to_a_square(a):
    x = points("dense", 6)
    y = invert(Quadratic(a), x)
    torch.testing.assert_close(y, x / a)
    torch.testing.assert_close(regularizer(Quadratic(a), x, y), (1 / a - 1) / 2 * x.square().sum(1))


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_inversions_agree_and_the_regularizer_has_the_operator_as_its_minimizer(kind):
    """½ ‖x' - y‖² + R(x') is least at x' = f(y) among points of f's range; both ways of inverting f give the same R."""
    network, alpha = potential(kind, spread=0.2), 0.1
    y = points(kind, 6)
    x = network(y, alpha).detach()
    back = invert(network, x, alpha)
    assert (network(back, alpha) - x).abs().max() < 1e-4
    torch.testing.assert_close(back, y, rtol=0, atol=1e-3)
    values = regularizer(network, x, back, alpha)
    other = regularizer(network, x, invert(network, x, alpha, by="least_squares"), alpha)
    torch.testing.assert_close(other, values, rtol=0, atol=1e-3)
    energy = (x[None] - y[:, None]).flatten(2).square().sum(2) / 2 + values
    assert (energy >= energy.diagonal()[:, None] - 1e-4).all()


def test_gradients_of_parameters_pass_through_the_gradient():
    network, y = potential("dense"), points("dense", 4)
    loss = network(y, 0.1).square().sum()
    parameter = network.hidden[0].weight
    (slope,) = torch.autograd.grad(loss, parameter)
    direction = torch.randn_like(parameter)
    with torch.no_grad():
        parameter += 1e-6 * direction
        above = network(y, 0.1).square().sum()
        parameter -= 2e-6 * direction
        below = network(y, 0.1).square().sum()
    assert (slope * direction).sum().item() == pytest.approx(((above - below) / 2e-6).item(), rel=1e-5)
    with torch.no_grad():
        assert not network(y).requires_grad
