import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import nn
from torch.nn.functional import conv2d

from regbench.methods.super_resolution.convolutions import (
    IntegerConvolution,
    NoisyConvolution,
    QuantizedConvolution,
    Shape,
    SharedConvolution,
)
from regbench.methods.super_resolution.quantizers import (
    STEPS,
    activation_integers,
    hwgq,
    initial_step,
    lsq,
    mixing_coefficients,
    noisy_mixture,
    quantization_noise,
    weight_integers,
)


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("distribution", "deviation"), [("gaussian", 0.066667), ("uniform", 0.038490)])
def test_noise_is_as_large_as_a_step(distribution, deviation):
    x = torch.linspace(-1, 1, 5, dtype=torch.float64).repeat(40_000).requires_grad_()
    torch.manual_seed(0)
    noisy = quantization_noise(x, 4, distribution=distribution)
    noise = noisy - x.detach()
    assert noise.std().item() == pytest.approx(deviation, rel=0.01)
    assert abs(noise.mean().item()) < 4 * deviation / len(x) ** 0.5
    assert not noisy.requires_grad
    assert (quantization_noise(x, 32) - x).abs().max() < 1e-8


def test_noise_that_is_not_detached_passes_the_gradient_of_x():
    x = numbers(7).requires_grad_()
    quantization_noise(x, 4, detached=False).sum().backward()
    assert torch.equal(x.grad, torch.ones(7, dtype=torch.float64))


def test_noise_has_a_gradient_in_its_scale():
    x, scale = numbers(50), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)
    noisy = quantization_noise(x, 2, scale)
    (gradient,) = torch.autograd.grad(noisy.square().sum(), scale)
    expected = (2 * noisy * (noisy - x) / scale).sum()
    assert gradient.item() == pytest.approx(expected.item(), rel=1e-10)


def test_mixing_leaves_part_of_the_whole():
    exact, shares = mixing_coefficients(torch.tensor([1 / 6, 1 / 6], dtype=torch.float64))
    assert exact == pytest.approx(1 / 3)
    assert shares.tolist() == pytest.approx([0.25, 0.25])


def test_mixture_passes_the_gradient_through_its_exact_part_alone():
    x, p = numbers(6).requires_grad_(), torch.tensor([0.1, 0.3], dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    mixed = noisy_mixture(x, p, (4, 8))
    torch.manual_seed(0)
    parts = torch.stack([quantization_noise(x, bits) for bits in (4, 8)])
    _, shares = mixing_coefficients(p.detach())
    torch.testing.assert_close(mixed.detach(), x.detach() / 3 + shares @ parts)
    in_x, in_p = torch.autograd.grad(mixed.sum(), [x, p])
    torch.testing.assert_close(in_x, torch.full((6,), 1 / 3, dtype=torch.float64))
    # d a_b / d p_c = δ_bc / (Σ p + c₀) - p_b / (Σ p + c₀)²
    total = 0.4 + 1 / 3
    jacobian = torch.eye(2).double() / total - p.detach()[:, None] / total**2
    torch.testing.assert_close(in_p, parts.sum(1) @ jacobian)


def test_a_noisy_convolution_is_one_of_mixtures():
    """∂y/∂W is c₀ times the gradient of a plain convolution of the noisy input."""
    shape = Shape(2, 3, (3, 3))
    layer = NoisyConvolution(shape, (4, 8), "gaussian", detached=True).double()
    x, p = numbers(2, 2, 6, 5), torch.full((2,), 1 / 6, dtype=torch.float64)
    torch.manual_seed(3)
    y = layer(x, p, 0.5)
    torch.manual_seed(3)
    seen, weight = noisy_mixture(x.relu(), p, (4, 8)), noisy_mixture(layer.weight, p, (4, 8))
    torch.testing.assert_close(y, conv2d(seen, weight, padding=1))
    plain = layer.weight.detach().clone().requires_grad_()
    (expected,) = torch.autograd.grad(conv2d(seen, plain, padding=1).square().sum() / 2, plain, retain_graph=True)
    (found,) = torch.autograd.grad((y * conv2d(seen, plain, padding=1).detach()).sum(), layer.weight)
    torch.testing.assert_close(found, expected / 3)


def test_out_of_training_there_is_no_noise():
    layer = NoisyConvolution(Shape(2, 3, (1, 1)), (4, 8), "gaussian", detached=True).double().eval()
    x, p = numbers(1, 2, 4, 4).abs(), torch.full((2,), 1 / 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x, p, 0.5), conv2d(x, layer.weight) * (5 / 6) ** 2)


def test_lsq_is_what_the_card_computes():
    weight = torch.tensor([[-0.9, -0.3, 0.1, 0.5]], dtype=torch.float64)
    step = initial_step(weight, 4)
    assert step.item() == pytest.approx(0.340168, abs=1e-6)
    assert lsq(weight, step, 4)[0].tolist() == pytest.approx([-1.020504, -0.340168, 0, 0.340168], abs=1e-6)
    assert lsq(weight, step, 32) is weight


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_lsq_quantizes_as_torch_does(bits):
    weight, low, high = numbers(5, 3, 3, 3, dtype=torch.float32), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    step = initial_step(weight, bits)
    expected = torch.fake_quantize_per_channel_affine(weight, step.flatten(), torch.zeros(5, dtype=torch.int32), 0, low, high)
    torch.testing.assert_close(lsq(weight, step, bits), expected)
    if bits == 8:
        stored = torch.quantize_per_channel(weight, step.flatten().double(), torch.zeros(5, dtype=torch.int64), 0, torch.qint8)
        assert torch.equal(stored.int_repr(), weight_integers(weight, step, bits).to(torch.int8))


def test_gradients_of_lsq_are_those_of_its_paper():
    """In W: 1 where it is not clipped. In s: round(v) - v inside, the limit outside, scaled."""
    weight, bits = numbers(4, 6).requires_grad_(), 3
    step = torch.tensor([[0.2], [0.3], [0.5], [1.0]], dtype=torch.float64, requires_grad=True)
    found = torch.autograd.grad(lsq(weight, step, bits).sum(), [weight, step])
    v = (weight / step).detach()
    inside = (v >= -4) & (v <= 3)
    of_step = torch.where(inside, v.round() - v, v.clamp(-4, 3)).sum(1, keepdim=True) / (3 * 24) ** 0.5
    torch.testing.assert_close(found[0], inside.double())
    torch.testing.assert_close(found[1], of_step)


def test_hwgq_is_what_the_card_computes_and_what_torch_does():
    x = torch.tensor([-0.5, 0.1, 0.2, 1, 5])
    assert hwgq(x, 4).tolist() == pytest.approx([0, 0, 0.213056, 1.065280, 3.195841], abs=1e-6)
    for bits in (2, 4, 8):
        many = 3 * numbers(1000, dtype=torch.float32)
        expected = torch.fake_quantize_per_tensor_affine(many, STEPS[bits], 0, 0, 2**bits - 1)
        torch.testing.assert_close(hwgq(many, bits), expected)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_hwgq_has_the_best_steps_for_half_a_normal_variable(bits):
    """No other step leaves a mean squared error of max(0, z) that is much smaller."""
    z = torch.linspace(1e-3, 8, 80_000, dtype=torch.float64)
    density = (-z.square() / 2).exp()

    def error(step):
        return (density * ((z.clamp(0, step * (2**bits - 1)) / step).round() * step - z).square()).mean().item()

    best = min(np.linspace(0.5, 1.5, 101) * STEPS[bits], key=error)
    assert error(STEPS[bits]) <= 1.08 * error(best)


def test_hwgq_passes_the_gradient_within_its_range():
    x = torch.tensor([-1.0, 0.5, 3.0, 4.0], requires_grad=True)
    hwgq(x, 4).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]


def correlated(x, weight, groups, padding):
    """An independent convolution of integers, one pair of channels after the other, in NumPy's 64-bit integers."""
    per = weight.shape[1]
    out = []
    for o, kernel in enumerate(weight):
        first = o // (len(weight) // groups) * per
        out.append(sum(correlate2d(np.pad(x[first + i], padding), kernel[i], mode="valid") for i in range(per)))
    return np.stack(out)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_trained_convolution_is_one_of_integers(bits, groups):
    layer = QuantizedConvolution(Shape(4, 6, (3, 3), groups=groups), bits)
    with torch.no_grad():
        layer.step.mul_(torch.rand(layer.step.shape) + 0.5)
    deployed = IntegerConvolution(layer)
    assert deployed.integers.dtype == torch.int8
    x = 2 * numbers(1, 4, 9, 7, dtype=torch.float32)
    found = deployed(x)
    torch.testing.assert_close(found, layer(x), atol=1e-5, rtol=1e-5)
    activations = activation_integers(x, bits)[0].numpy().astype(np.int64)
    sums = correlated(activations, deployed.integers.numpy().astype(np.int64), groups, 1)
    factors = (layer.step.detach().flatten().double() * STEPS[bits]).numpy()
    np.testing.assert_allclose(found[0].detach().numpy(), sums * factors[:, None, None], rtol=1e-6)


def test_sums_that_single_precision_cannot_hold_are_carried_in_double():
    layer = QuantizedConvolution(Shape(600, 1, (5, 5)), 8)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.step.fill_(1 / 127)
    deployed = IntegerConvolution(layer)
    assert deployed.carrier == torch.float64
    x = torch.full((1, 600, 5, 5), 100.0)
    assert deployed(x)[0, 0, 2, 2].item() == pytest.approx(15_000 * 255 * 127 / 127 * STEPS[8], rel=1e-6)
    assert IntegerConvolution(QuantizedConvolution(Shape(3, 2, (3, 3)), 4)).carrier == torch.float32


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_torch_ao_convolves_the_same_integers():
    """Its quantized convolution of 8 bits, whose sums it also rounds to bytes."""
    if "fbgemm" not in torch.backends.quantized.supported_engines and "x86" not in torch.backends.quantized.supported_engines:
        pytest.skip("no quantized kernels here")
    layer = QuantizedConvolution(Shape(3, 4, (3, 3)), 8)
    x = numbers(1, 3, 8, 8, dtype=torch.float32).abs()
    zero, steps = torch.zeros(4, dtype=torch.int64), layer.step.detach().flatten().double()
    weight = torch.quantize_per_channel(layer.weight.detach(), steps, zero, 0, torch.qint8)
    # Activations of half the range, as the kernels of older processors add pairs in 16 bits.
    halved = torch.quantize_per_tensor(x.clamp(max=127 * STEPS[8]), STEPS[8], 0, torch.quint8)
    scale = 0.02
    found = torch.ao.nn.quantized.functional.conv2d(halved, weight, None, padding=1, scale=scale, zero_point=128)
    expected = IntegerConvolution(layer)(x.clamp(max=127 * STEPS[8]))
    assert (found.dequantize() - expected.clamp(-128 * scale, 127 * scale)).abs().max() <= scale / 2 + 1e-5


def test_shared_weights_are_mixed_as_quantized():
    layer = SharedConvolution(Shape(2, 3, (3, 3)), (4, 8)).double()
    assert len(list(layer.parameters())) == 3  # the steps are learned
    x, p = numbers(2, 2, 6, 5), torch.tensor([0.1, 0.3], dtype=torch.float64)
    weight = 0.25 * lsq(layer.weight, layer.steps[0], 4) + 0.75 * lsq(layer.weight, layer.steps[1], 8)
    torch.testing.assert_close(layer(x, p, 0.5), conv2d(0.25 * hwgq(x, 4) + 0.75 * hwgq(x, 8), weight, padding=1))


def test_full_precision_is_a_plain_convolution_after_a_parametric_rectifier():
    layer = QuantizedConvolution(Shape(2, 3, (3, 1)), 32)
    x = numbers(1, 2, 4, 4, dtype=torch.float32)
    plain = nn.functional.leaky_relu(x, 0.1)
    torch.testing.assert_close(layer(x), conv2d(plain, layer.weight, padding=(1, 0)))
    with pytest.raises(ValueError, match="32 bits"):
        IntegerConvolution(layer)
