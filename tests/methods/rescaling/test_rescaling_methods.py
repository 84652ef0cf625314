from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio

from regbench.methods.rescaling.bicubic import Bicubic
from regbench.methods.rescaling.dual_latent_rescaling import DualLatentRescaling
from regbench.methods.rescaling.irn import IRN
from regbench.methods.rescaling.networks import InvertibleRescaler
from regbench.methods.rescaling.task import Batch, judge
from regbench.methods.run import Run
from regbench.methods.shared.bicubic import resize
from regbench.methods.shared.data import Data
from regbench.methods.shared.data.color_photographs import padded
from regbench.methods.shared.images import luminance

SMALL = {"iterations": 3, "report_every": 3, "num_blocks": 1, "growth": 3, "crop": 8, "batch_size": 2, "draws": 1}


@pytest.fixture(scope="module")
def data():
    """Smooth random images of two sizes."""
    numbers = np.random.default_rng(0)
    coarse = [numbers.random((3, 6, 8)), numbers.random((3, 7, 6))]
    images = [(255 * resize(torch.from_numpy(c), 4.0).clamp(0, 1)).byte().numpy().transpose(1, 2, 0) for c in coarse]
    split = padded(images)
    return Data("coarse", split, split, split, meta={"shape": (3, 28, 32)})


def batch(extra, scale=2, seed=0):
    stream = torch.Generator().manual_seed(seed)
    x = torch.rand(2, 3, 8, 8, generator=stream, dtype=torch.float64)
    small = resize(x, 1 / scale)
    noise = [torch.randn(2, count, *small.shape[2:], generator=stream, dtype=torch.float64) for count in (extra, 9 + extra)]
    return Batch(x, small, *noise)


def weights(**values):
    return SimpleNamespace(**vars(DualLatentRescaling().weight_values()) | values)


def test_luminance_is_that_of_scikit_image():
    x = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    expected = rgb2ycbcr(x.permute(0, 2, 3, 1).numpy())[..., 0] / 255
    np.testing.assert_allclose(luminance(x)[:, 0], expected, atol=1e-6)


def test_images_are_judged_in_their_own_sizes_from_eight_bits(data):
    seen = []

    def enlarge(y):
        seen.append(y)
        return resize(y, 2.0)

    found = judge(lambda x: resize(x, 0.5), enlarge, 2, data.test, Run(data))
    assert [y.shape for y in seen] == [(1, 3, 12, 16), (1, 3, 14, 12)]
    for y in seen:
        torch.testing.assert_close(255 * y, (255 * y).round(), atol=1e-4, rtol=0)
    clean = data.test.tensors[0][0, :, :24, :32].double() / 255
    large = (255 * resize(seen[0][0].double(), 2.0).clamp(0, 1)).round() / 255
    ys = [luminance(image[None])[0, 0, 2:-2, 2:-2].numpy() for image in (clean, large)]
    first = peak_signal_noise_ratio(*ys, data_range=1.0)
    alone = judge(lambda x: resize(x, 0.5), lambda y: resize(y, 2.0), 2, type(data.test)(*data.test[:1]), Run(data))
    assert alone["psnr"] == pytest.approx(first, abs=1e-3)
    assert found == {**alone, **found}
    assert found["lr_psnr"] > 55  # rounding alone


def test_objectives_by_their_terms():
    """λ_ce = λ_fit = 0 leaves the reconstruction; each weight adds its term; the cycle sees the latent of shrinking."""
    torch.manual_seed(0)
    network = InvertibleRescaler(2, 1, 3, extra=2).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    method, some = DualLatentRescaling(gaussian_scale=0.5, downscaling_latent_channels=2), batch(2)
    base = {"lr_guidance_weight": 0.0, "latent_cross_entropy_weight": 0.0, "downscaling_latent_scale": 0.3}
    y, z_u = network.downscale(some.x, 0.3 * some.z_d)
    eight_bits = (255 * y.clamp(0, 1)).round() / 255
    found, back = network.upscale(eight_bits, 0.5 * some.z_u)
    expected = {
        "reconstruction": ((found - some.x).square() + 1e-6).sqrt().sum() / 2,
        "lr_guidance_weight": (y - some.reference).square().sum() / 2,
        "latent_cross_entropy_weight": z_u.square().sum() / 2,
        "latent_cycle_weight": (back - 0.3 * some.z_d).square().sum() / 2,
    }
    plain = method.objective(network, some, weights(**base))[0]
    torch.testing.assert_close(plain, expected["reconstruction"])
    for name in ("lr_guidance_weight", "latent_cross_entropy_weight", "latent_cycle_weight"):
        torch.testing.assert_close(
            method.objective(network, some, weights(**base | {name: 2.0}))[0] - plain, 2 * expected[name]
        )


def test_gradients_flow_through_both_passes():
    """Through the small image and through what is made of it: neither alone is the gradient."""
    torch.manual_seed(0)
    network = InvertibleRescaler(2, 1, 3).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    some, method = batch(0), IRN(gaussian_scale=0.0)
    parameter = network.levels[0][0].f.layers[-1].weight
    only = SimpleNamespace(lr_guidance_weight=0.0, latent_cross_entropy_weight=0.0)
    (whole,) = torch.autograd.grad(method.objective(network, some, only)[0], parameter)
    y = network.downscale(some.x, some.z_d)[0].detach().clamp(0, 1)
    large = network.upscale((255 * y).round() / 255, 0 * some.z_u)[0]
    (inverse,) = torch.autograd.grad(((large - some.x).square() + 1e-6).sqrt().sum() / 2, parameter)
    assert inverse.norm() > 0
    assert (whole - inverse).norm() > 1e-3 * whole.norm()


def test_a_batch_of_tiles_has_four_times_the_loss_at_the_start():
    network, method = InvertibleRescaler(2, 1, 3).double(), IRN(gaussian_scale=0.0)
    some = batch(0)
    # Means of 2 x 2 pixels in the place of bicubic ones, which tiling leaves as they are.
    some = Batch(some.x, torch.nn.functional.avg_pool2d(some.x, 2) + 0.1, some.z_d, some.z_u)
    tiled = Batch(*(part.repeat(1, 1, 2, 2) for part in (some.x, some.reference, some.z_d, some.z_u)))
    one, four = (method.objective(network, part, method.weight_values())[0].item() for part in (some, tiled))
    assert four == pytest.approx(4 * one)


def curve(method, data):
    return list(method.train(Run(data, test=True)))


def test_without_a_second_latent_it_is_irn(data):
    dual = DualLatentRescaling(downscaling_latent_channels=0, **SMALL)
    assert curve(dual, data) == curve(IRN(**SMALL), data)
    augmented = curve(DualLatentRescaling(downscaling_latent_scale=0.0, **SMALL), data)[-1]
    assert augmented["val/lr_spread"] == 0
    assert curve(DualLatentRescaling(**SMALL), data)[-1]["val/lr_spread"] > 0


def test_untrained_networks_shrink_by_means_and_learn_to_invert_them(data):
    settings = SMALL | {"scale": 4, "iterations": 40, "report_every": 40, "learning_rate": 3e-3, "gaussian_scale": 0.0}
    (learned,) = curve(IRN(**settings), data)
    (bicubic,) = curve(Bicubic(scale=4), data)
    start = curve(IRN(**settings | {"iterations": 1, "learning_rate": 1e-9}), data)[0]
    assert learned["val/psnr"] > start["val/psnr"] + 0.2
    assert bicubic["val/lr_psnr"] > learned["val/lr_psnr"]
