import math

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from regbench.methods.rescaling.losses import charbonnier, guidance, latent_cross_entropy
from regbench.methods.rescaling.networks import Coupling, DenseBlock, InvertibleRescaler, haar, inverse_haar, quantize
from regbench.methods.shared.bicubic import resize, resize_matrix


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network(scale=2, extra=0, spread=0.05):
    """With random weights in all layers."""
    torch.manual_seed(1)
    made = InvertibleRescaler(scale, blocks=2, growth=4, depth=3, extra=extra).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=spread)
    return made


def test_haar_by_hand():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert haar(x).flatten().tolist() == [2.5, -0.5, -1.0, 0.0]
    assert haar(x).square().sum() == 7.5
    colours = random(2, 3, 6, 8)
    torch.testing.assert_close(inverse_haar(haar(colours)), colours)
    assert haar(colours).square().sum().item() == pytest.approx(colours.square().sum().item() / 4)
    torch.testing.assert_close(haar(colours)[:, :3], nn.functional.avg_pool2d(colours, 2))


class Map(nn.Module):
    """A function of numbers as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_a_coupling_by_hand():
    coupling = Coupling(Map(lambda t: t / 2), Map(lambda t: t - 1), Map(lambda t: t), first=1)
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)[None, :, None, None]
    y = coupling(x)
    assert y.flatten().tolist() == pytest.approx([2.0, 5.283375], abs=1e-6)
    assert coupling.log_scale(y[:, :1]).item() == pytest.approx(0.761594, abs=1e-6)
    torch.testing.assert_close(coupling.inverse(y), x)


def test_the_sum_of_log_scales_is_the_log_determinant():
    torch.manual_seed(0)
    coupling = Coupling(*(DenseBlock(a, b, 3, 3) for a, b in ((2, 3), (3, 2), (3, 2)))).double()
    for parameter in coupling.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = random(1, 5, 2, 2)
    matrix = torch.autograd.functional.jacobian(coupling, x).reshape(20, 20)
    log_scale = coupling.log_scale(coupling(x)[:, :3])
    assert torch.linalg.slogdet(matrix).logabsdet.item() == pytest.approx(log_scale.sum().item())
    assert log_scale.abs().max() < 1
    squeeze = torch.autograd.functional.jacobian(haar, random(1, 2, 2, 2)).reshape(8, 8)
    assert torch.linalg.slogdet(squeeze).logabsdet.item() == pytest.approx(-(2 * 2 * 2 / 4) * math.log(16))


@pytest.mark.parametrize("extra", [0, 1, 6])
@pytest.mark.parametrize("scale", [2, 4])
def test_networks_are_inverted_exactly(scale, extra):
    made, x, z_d = network(scale, extra), random(2, 3, 8, 12), random(2, extra, 8 // scale, 12 // scale, seed=1)
    y, z_u = made.downscale(x, z_d)
    assert y.shape == (2, 3, 8 // scale, 12 // scale)
    assert z_u.shape == (2, 3 * scale**2 - 3 + extra, *y.shape[2:])
    back = made.upscale(y, z_u)
    torch.testing.assert_close(back[0], x, rtol=0, atol=1e-10)
    torch.testing.assert_close(back[1], z_d, rtol=0, atol=1e-10)
    assert (z_u - haar(x)[:, 3:] if (scale, extra) == (2, 0) else z_u).abs().max() > 1e-3


@pytest.mark.parametrize("scale", [2, 4])
def test_at_the_start_the_network_is_the_haar_transform(scale):
    made, x, z_d = InvertibleRescaler(scale, 1, extra=2).double(), random(2, 3, 8, 8), random(2, 2, 8 // scale, 8 // scale)
    y, z_u = made.downscale(x, z_d)
    torch.testing.assert_close(y, nn.functional.avg_pool2d(x, scale))
    torch.testing.assert_close(z_u[:, -2:], z_d)
    squeezed = haar(x) if scale == 2 else haar(haar(x))
    torch.testing.assert_close(z_u[:, :-2], squeezed[:, 3:])


def test_the_second_latent_changes_the_small_image():
    made, x = network(extra=3), random(1, 3, 8, 8)
    ys = [made.downscale(x, random(1, 3, 4, 4, seed=seed))[0] for seed in (0, 1)]
    assert (ys[0] - ys[1]).abs().max() > 1e-4


@pytest.mark.parametrize(("scale", "count"), [(2, 1_667_952), (4, 4_355_136)])
def test_irn_has_the_released_number_of_parameters(scale, count):
    assert sum(p.numel() for p in InvertibleRescaler(scale).parameters()) == count


def test_quantization_has_the_gradient_of_the_identity():
    y = torch.tensor([-0.1, 0.2, 0.5019, 1.2], dtype=torch.float64, requires_grad=True)
    found = quantize(y)
    assert found.tolist() == pytest.approx([0, 0.2, 128 / 255, 1])
    (found * torch.arange(1.0, 5.0)).sum().backward()
    assert y.grad.tolist() == [1, 2, 3, 4]


def test_losses_by_hand():
    x = torch.zeros(1, 1, 1, 3, dtype=torch.float64)
    assert charbonnier(torch.tensor([[[[0, 0.1, -0.2]]]], dtype=torch.float64), x).item() == pytest.approx(0.301007, abs=1e-6)
    a, b = random(4, 3, 5, 6), random(4, 3, 5, 6, seed=1)
    assert guidance(a, b).item() == pytest.approx(((a - b) ** 2).sum().item() / 4)
    assert latent_cross_entropy(a).item() == pytest.approx((a**2).sum().item() / 4)
    for loss in (guidance, charbonnier):
        assert loss(a.repeat(2, 1, 1, 1), b.repeat(2, 1, 1, 1)).item() == pytest.approx(loss(a, b).item())


def test_resizing_is_bicubic_with_antialiasing():
    x = random(2, 3, 40, 56)
    for scale, border in ((0.5, 4), (0.25, 4), (2.0, 8), (4.0, 16)):
        found = resize(x, scale)
        expected = interpolate(x, scale_factor=scale, mode="bicubic", antialias=True)
        assert found.shape == expected.shape
        inner = (..., slice(border, -border), slice(border, -border))
        torch.testing.assert_close(found[inner], expected[inner], rtol=0, atol=1e-12)
    torch.testing.assert_close(resize(torch.full((1, 9, 7), 0.3), 0.5), torch.full((1, 5, 4), 0.3))
    # The border's pixels repeat, mirrored: by hand for a line of two pixels.
    torch.testing.assert_close(resize_matrix(2, 0.5), torch.tensor([[0.5, 0.5]], dtype=torch.float64))
