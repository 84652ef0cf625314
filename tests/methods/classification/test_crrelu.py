import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch import nn
from torch.autograd import gradcheck

from regbench.methods.classification.crrelu import CorrectionRegularizedReLU, CRReLU, correction
from regbench.methods.errors import ConfigError
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import load

X = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)


def tensor(values, **options):
    return torch.tensor(values, dtype=torch.float64, **options)


def crrelu(epsilon):
    return CRReLU(nn.Parameter(tensor(epsilon)))


def f(x, epsilon):
    return crrelu(epsilon)(tensor(x)).item()


def expectation(function):
    """Under the standard normal distribution."""
    halves = [quad(lambda x: function(x) * norm.pdf(x), *ends, epsabs=1e-12)[0] for ends in ((-12, 0), (0, 12))]
    return sum(halves)


def slope(x):
    """The derivative of the bump, by the code's own gradient."""
    at = tensor(x, requires_grad=True)
    return torch.autograd.grad(correction(at), at)[0].item()


def trained(method):
    run = Run("digits")
    metrics = list(method.train(run))
    return metrics, run.state()["state"]


def modules(method, data="digits"):
    return [module for module in method.build_model(load(data)).modules() if isinstance(module, CRReLU)]


@pytest.mark.parametrize(
    ("epsilon", "values"),
    [
        (0.01, (-0.002707, -0.006065, -0.004412, 0, 0.504412, 1.006065, 2.002707)),
        (0.5, (-0.135335, -0.303265, -0.220624, 0, 0.720624, 1.303265, 2.135335)),
        (-0.3, (0.081201, 0.181959, 0.132375, 0, 0.367625, 0.818041, 1.918799)),
    ],
)
def test_values_by_hand(epsilon, values):
    np.testing.assert_allclose(crrelu(epsilon)(tensor(X)).detach(), values, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, -0.3])
def test_derivative_in_epsilon_by_hand(epsilon):
    expected = (-0.270671, -0.606531, -0.441248, 0, 0.441248, 0.606531, 0.270671)
    for x, value in zip(X, expected, strict=True):
        module = crrelu(epsilon)
        module(tensor(x)).backward()
        assert module.epsilon.grad.item() == pytest.approx(value, abs=1e-6)


def test_derivative_in_x_by_hand():
    x = tensor(X, requires_grad=True)
    crrelu(0.5)(x).sum().backward()
    np.testing.assert_allclose(x.grad, (-0.203003, 0, 0.330936, 0.5, 1.330936, 1, 0.796997), atol=1e-6)


@pytest.mark.parametrize("shape", [(), (6,)], ids=["module", "channel"])
def test_gradient_agrees_with_finite_differences(shape):
    x = tensor([X[:3] + X[4:]] * 2, requires_grad=True)  # without the kink at 0
    epsilon = torch.full(shape, 0.3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, epsilon: CRReLU(nn.Parameter(epsilon))(x), (x, epsilon.detach()))
    assert gradcheck(lambda epsilon: torch.relu(x.detach()) + epsilon * correction(x.detach()), (epsilon,))


def test_without_epsilon_it_is_relu_bit_for_bit():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    mine, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    output = CRReLU(nn.Parameter(torch.tensor(0.0), requires_grad=False))(mine)
    reference = torch.relu(plain)
    output.sum().backward()
    reference.sum().backward()
    assert torch.equal(output, reference)
    assert torch.equal(mine.grad, plain.grad)


@pytest.mark.parametrize("epsilon", [0.01, 0.7, -0.4])
def test_odd_and_even_parts(epsilon):
    x = tensor(np.linspace(0.1, 5, 50))
    module = crrelu(epsilon)
    torch.testing.assert_close(module(x) - module(-x), x + 2 * epsilon * x * np.exp(-(x**2) / 2))
    torch.testing.assert_close(module(x) + module(-x), x)


@pytest.mark.parametrize("epsilon", [1.0, -1.0])
def test_it_stays_close_to_relu_and_joins_it_far_from_zero(epsilon):
    x = tensor(np.linspace(-40, 40, 80_001))
    difference = (crrelu(epsilon)(x) - torch.relu(x)).abs()
    assert difference.max() <= np.exp(-0.5) + 1e-15
    assert difference[x.abs() > 9].max() < 1e-15


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("large", [1e4, 6e4])
def test_large_inputs_neither_overflow_nor_lose_their_gradient(dtype, large):
    x = torch.tensor([-large, large], dtype=dtype, requires_grad=True)
    output = CRReLU(nn.Parameter(torch.tensor(0.5, dtype=dtype)))(x)
    output.sum().backward()
    assert torch.equal(output, torch.relu(x))
    assert x.grad.tolist() == [0, 1]


@pytest.mark.parametrize(("epsilon", "second"), [(0.0, 0.5), (0.01, 0.5 + 0.00353553 + 0.0000192450), (-0.5, 0.3713360)])
def test_gaussian_moments(epsilon, second):
    assert expectation(lambda x: f(x, epsilon)) == pytest.approx(0.398942, abs=1e-6)
    assert expectation(lambda x: f(x, epsilon) ** 2) == pytest.approx(second, abs=1e-6)


def test_second_moments_of_the_bump():
    assert expectation(lambda x: correction(tensor(x)).item() ** 2) == pytest.approx(0.192450, abs=1e-6)
    assert expectation(lambda x: max(x, 0) * correction(tensor(x)).item()) == pytest.approx(0.176777, abs=1e-6)


@pytest.mark.parametrize(("epsilon", "change"), [(0.01, 0.003516), (0.1, 0.033521), (0.5, 0.137544), (-0.1, -0.037384)])
def test_entropy_falls_with_negative_and_rises_with_positive_epsilon(epsilon, change):
    # The entropy of x + epsilon * bump(x) less that of x, for x ~ N(0, 1), is the mean logarithm of the slope.
    assert expectation(lambda x: np.log(1 + epsilon * slope(x))) == pytest.approx(change, abs=1e-6)


def test_entropy_changes_at_first_by_one_over_two_root_two():
    assert expectation(slope) == pytest.approx(1 / (2 * np.sqrt(2)), abs=1e-9)


def test_eafo_step_on_the_inverse_lowers_the_entropy():
    # The inverse x + step * eta(x) with eta = bump / sqrt(2 pi): density q(x) = p(y(x)) y'(x) of the activation's output.
    def entropy(step):
        def minus_q_log_q(x):
            scale = step / np.sqrt(2 * np.pi)
            q = norm.pdf(x + scale * correction(tensor(x)).item()) * (1 + scale * slope(x))
            return -q * np.log(q)

        return quad(minus_q_log_q, -12, 12, epsabs=1e-11, points=[0])[0]

    assert entropy(0.0) == pytest.approx(1.418939, abs=1e-6)
    assert (entropy(1e-3) - entropy(-1e-3)) / 2e-3 == pytest.approx(-0.141047, abs=1e-6)


@pytest.mark.parametrize("architecture", ["deep_mlp", "tiny_vit"])
def test_frozen_at_zero_trains_bit_for_bit_like_relu(architecture):
    settings = {"architecture": architecture, "epochs": 1, "optimizer": "adam", "learning_rate": 2e-3}
    metrics, state = trained(create("crrelu", settings).baseline())
    reference, plain = trained(create("cross_entropy", settings))
    assert all(torch.equal(state["model"][name], value) for name, value in plain["model"].items())
    assert metrics[-1]["val/nll"] == reference[-1]["val/nll"]


def test_off_is_frozen_at_zero():
    off = CorrectionRegularizedReLU().baseline()
    assert (off.epsilon_init, off.epsilon_learnable) == (0.0, False)
    assert all(not module.epsilon.requires_grad for module in modules(off))


@pytest.mark.parametrize(("granularity", "distinct", "size"), [("module", 10, 1), ("network", 1, 1), ("channel", 10, 24)])
def test_granularity_in_the_deep_mlp(granularity, distinct, size):
    found = modules(CorrectionRegularizedReLU(architecture="deep_mlp", epsilon_granularity=granularity))
    assert len(found) == 10
    epsilons = {id(module.epsilon): module.epsilon for module in found}
    assert [epsilon.numel() for epsilon in epsilons.values()] == [size] * distinct
    assert all((epsilon == torch.tensor(0.01)).all() for epsilon in epsilons.values())


@pytest.mark.parametrize(("granularity", "shape"), [("module", ()), ("network", ()), ("channel", (128,))])
def test_it_replaces_the_activation_in_the_mlps_of_the_transformer(granularity, shape):
    method = CorrectionRegularizedReLU(architecture="tiny_vit", epsilon_granularity=granularity)
    network = method.build_model(load("digits"))
    assert not any(isinstance(module, nn.ReLU | nn.GELU | nn.PReLU) for module in network.modules())
    found = modules(method)
    assert [module.epsilon.shape for module in found] == [shape] * 2
    assert network(torch.rand(3, 1, 8, 8)).shape == (3, 10)


@pytest.mark.parametrize("granularity", ["module", "network", "channel"])
def test_every_epsilon_learns(granularity):
    method = CorrectionRegularizedReLU(architecture="deep_mlp", epsilon_granularity=granularity, epochs=1, optimizer="adam")
    _, state = trained(method)
    epsilons = [value for name, value in state["model"].items() if name.endswith("epsilon")]
    assert len(epsilons) == 10
    assert all((epsilon != torch.tensor(0.01)).all() for epsilon in epsilons)


def test_frozen_epsilon_stays():
    _, state = trained(CorrectionRegularizedReLU(epsilon_init=0.3, epsilon_learnable=False, epochs=1))
    assert all(value == torch.tensor(0.3) for name, value in state["model"].items() if name.endswith("epsilon"))


def test_epsilon_has_a_rate_and_a_decay_of_its_own():
    method = CorrectionRegularizedReLU(epsilon_rate=0.5, epsilon_weight_decay=0.25, learning_rate=0.1, weight_decay=1e-3)
    network = method.build_model(load("digits"))
    optimizer = method.build_optimizer(network)
    method.set_rates(optimizer, network, 1)
    rest, epsilons = optimizer.param_groups
    assert (rest["lr"], rest["weight_decay"]) == (0.1, 1e-3)
    assert (epsilons["lr"], epsilons["weight_decay"]) == (0.05, 0.25)
    assert {id(p) for p in epsilons["params"]} == {
        id(module.epsilon) for module in network.modules() if isinstance(module, CRReLU)
    }
    assert len(rest["params"]) + len(epsilons["params"]) == len(list(network.parameters()))


def test_every_epsilon_is_recorded_and_watched():
    method = CorrectionRegularizedReLU(epsilon_granularity="channel")
    network = method.build_model(load("digits"))
    first, second = (module.epsilon for module in network.modules() if isinstance(module, CRReLU))
    with torch.no_grad():
        first[:128] = 2.3  # increasing for x > 0 up to 2.2408
        second.fill_(-0.9)
    found = method.diagnostics(network)
    assert found["epsilon/0"] == pytest.approx((2.3 + 0.01) / 2)
    assert found["epsilon/1"] == pytest.approx(-0.9)
    assert found["epsilon/not_monotone"] == 0.25


@pytest.mark.parametrize(("epsilon", "increases"), [(-1.0, True), (-1.05, False), (2.24, True), (2.25, False)])
def test_range_in_which_the_positive_branch_increases(epsilon, increases):
    x = tensor(np.linspace(0, 6, 60_001), requires_grad=True)
    crrelu(epsilon)(x).sum().backward()
    assert bool((x.grad[1:] >= 0).all()) == increases


@pytest.mark.parametrize("activation", ["gelu", "prelu"])
def test_it_refuses_to_replace_another_activation(activation):
    with pytest.raises(ConfigError, match=f"leave activation at relu, or train cross_entropy with {activation}"):
        create("crrelu", {"activation": activation})


def test_one_epsilon_per_channel_is_refused_where_channels_are_not_units():
    with pytest.raises(ValueError, match="take one per module or network"):
        CorrectionRegularizedReLU(epsilon_granularity="channel", architecture="resnet18")
