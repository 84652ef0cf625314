import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from skimage.transform import radon
from torch.nn.functional import softshrink

from regbench.methods.shared.proximal.operators import Blur, CompressedSensing, Measurement, Tomography
from regbench.methods.shared.proximal.plug_and_play import box, by_patches, plug_and_play_admm, plug_and_play_gradient
from regbench.methods.shared.proximal.potentials import ConvolutionalPotential

OPERATORS = (
    Blur((2, 9, 7), deviation=1.0),
    Blur((1, 9, 9), deviation=2.0),
    CompressedSensing((2, 9, 7), measurements=40),
    Tomography((2, 9, 7), angles=5),
)


def images(operator, count=3):
    stream = torch.Generator().manual_seed(0)
    return torch.randn(count, *operator.shape, dtype=torch.float64, generator=stream)


def matrix(operator):
    """A, row by row."""
    basis = torch.eye(int(np.prod(operator.shape)), dtype=torch.float64).reshape(-1, *operator.shape)
    return operator.forward(basis).flatten(1).T


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_adjoints_and_norms(operator):
    x = images(operator)
    b = torch.randn_like(operator.forward(x))
    a = matrix(operator)
    torch.testing.assert_close(operator.forward(x).flatten(1), x.flatten(1) @ a.T)
    torch.testing.assert_close(operator.adjoint(b).flatten(1), b.flatten(1) @ a)
    assert operator.squared_norm == pytest.approx(torch.linalg.matrix_norm(a, ord=2).item() ** 2, rel=2e-2)
    single = operator.forward(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), operator.forward(x), rtol=1e-4, atol=1e-4)
    assert operator == type(operator)(**{name: getattr(operator, name) for name in operator.__dataclass_fields__})


def test_blur_is_the_full_convolution_with_a_gaussian():
    operator = Blur((1, 6, 8), deviation=1.5)
    x = images(operator, 1)
    line = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 1.5**2))
    kernel = np.outer(line, line) / line.sum() ** 2
    np.testing.assert_allclose(operator.forward(x)[0, 0], convolve2d(x[0, 0], kernel))
    assert [Blur((1, 9, 9), deviation=d).kernel.shape[-1] for d in (0.5, 1.0, 2.0, 4.0)] == [5, 5, 7, 13]


def test_compressed_sensing_mixes_signed_pixels_by_a_circular_convolution():
    operator = CompressedSensing((1, 3, 4), measurements=5, seed=3)
    signs, spectrum, places = operator.parts
    numbers = torch.fft.ifft(spectrum, norm="ortho").real
    x = images(operator, 1)
    signed = x.flatten() * signs
    circular = torch.stack([sum(signed[j] * numbers[(i - j) % 12] for j in range(12)) for i in range(12)])
    torch.testing.assert_close(operator.forward(x)[0], circular[places] / 12**0.5)
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert len(set(places.tolist())) == 5


def test_projections_are_those_of_scikit_image():
    """Pixel by pixel rather than ray by ray, which ripples at steep angles; there, angles turn the other way, in degrees."""
    operator = Tomography((1, 33, 33), angles=8)
    y, x = np.mgrid[-16:17, -16:17]
    smooth = np.exp(-((x - 3) ** 2 + (y + 2) ** 2) / 20) + 0.5 * np.exp(-((x + 6) ** 2 + (y - 4) ** 2) / 10)
    smooth *= np.hypot(x, y) < 15
    found = operator.forward(torch.from_numpy(smooth)[None, None])[0, 0].numpy()
    expected = radon(smooth, theta=-np.arange(8) * 180 / 8, circle=True).T
    margin = (found.shape[1] - 33) // 2
    for ours, theirs in zip(found[:, margin : margin + 33], expected, strict=True):
        assert np.corrcoef(ours, theirs)[0, 1] > 0.99
    np.testing.assert_allclose(found.sum(1), smooth.sum(), rtol=1e-9)
    np.testing.assert_allclose(found[0, margin : margin + 33], smooth.sum(0), atol=1e-12)


class Identity(Measurement):
    """A = I."""

    def forward(self, x):
        return x

    def adjoint(self, b):
        return b


def test_without_a_regularizer_admm_finds_the_inverse():
    class Scaling(Identity):
        def forward(self, x):
            return x * torch.linspace(0.5, 2, x.shape[-1], dtype=x.dtype)

        adjoint = forward

    operator = Scaling((1, 3, 4))
    truth = images(operator)
    b = operator.forward(truth)
    options = {"penalty": 0.5, "scale": 1.0, "iterations": 100, "tolerance": 1e-9}
    found = plug_and_play_admm(lambda v: v, operator, b, torch.zeros_like(truth), **options)
    torch.testing.assert_close(found.x, truth, atol=1e-4, rtol=0)


def test_with_the_soft_threshold_both_loops_find_the_soft_threshold():
    operator = Identity((1, 3, 4))
    b = 2 * images(operator)
    expected, start = softshrink(b, 1.0), torch.zeros_like(b)
    options = {"penalty": 1.0, "scale": 0.5, "iterations": 200, "tolerance": 1e-9}
    admm = plug_and_play_admm(lambda v: softshrink(v, 1.0), operator, b, start, **options)
    torch.testing.assert_close(admm.x, expected, atol=1e-5, rtol=0)
    descent = plug_and_play_gradient(lambda v: softshrink(v, 0.5), operator, b, start, step_size=0.5, iterations=200)
    torch.testing.assert_close(descent.x, expected, atol=1e-5, rtol=0)
    for moves in (admm.moves, descent.moves):
        assert moves.shape == (200, 3)
        assert (moves[-1] < 1e-5 * moves[0]).all()


def test_the_box_is_a_second_operator():
    operator = Identity((1, 3, 4))
    b = 2 * images(operator)
    found = plug_and_play_admm([lambda v: v, box], operator, b, torch.zeros_like(b), penalty=1.0, scale=0.5, iterations=300).x
    torch.testing.assert_close(found, b.clamp(0, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("operator", [Blur((1, 8, 8)), CompressedSensing((1, 8, 8), 20), Tomography((1, 8, 8), 4)], ids=repr)
def test_with_a_learned_proximal_operator_both_loops_settle_at_one_point(operator):
    """Convergence without a bound of the Lipschitz constant: moves vanish, and the end does not depend on the start."""
    torch.manual_seed(0)
    network = ConvolutionalPotential(1, 8, 4).double()
    network.start(-4.0, 0.5)
    b = operator.forward(images(operator))

    def f(v):
        return network(v, 0.05)

    ends = []
    for start in (torch.zeros(3, *operator.shape, dtype=torch.float64), images(operator) + 1):
        result = plug_and_play_admm(f, operator, b, start, penalty=1.0, scale=1.0, iterations=150, linear_iterations=100)
        assert (result.moves[-1] < 1e-4 * result.moves[0]).all()
        ends.append(result.x)
    torch.testing.assert_close(*ends, atol=1e-3, rtol=0)
    step = 0.99 / operator.squared_norm
    result = plug_and_play_gradient(f, operator, b, torch.zeros_like(ends[0]), step_size=step, iterations=300)
    assert (result.moves[-1] < 1e-4 * result.moves[0]).all()


def test_patches_are_averaged_where_they_overlap():
    x = torch.rand(2, 3, 7, 10, dtype=torch.float64)
    torch.testing.assert_close(by_patches(lambda patches: patches, x, 4, 2), x)
    seen = []

    def darken(patches):
        seen.append(patches.shape)
        return patches - patches.mean((1, 2, 3), keepdim=True)

    found = by_patches(darken, x, 4, 3)
    sums, counts = torch.zeros_like(x), torch.zeros(7, 10)
    for row in (0, 3):
        for column in (0, 3, 6):
            patch = x[:, :, row : row + 4, column : column + 4]
            sums[:, :, row : row + 4, column : column + 4] += patch - patch.mean((1, 2, 3), keepdim=True)
            counts[row : row + 4, column : column + 4] += 1
    torch.testing.assert_close(found, sums / counts)
    assert seen == [(12, 3, 4, 4)]
