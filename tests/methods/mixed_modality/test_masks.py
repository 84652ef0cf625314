import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from regbench.methods.errors import ConfigError
from regbench.methods.mixed_modality.masks import apply, blur, enlarge
from regbench.methods.registry import create


@pytest.mark.parametrize(("cells", "size"), [(1, (8, 8)), (4, (8, 8)), (8, (8, 8)), (2, (6, 10))])
def test_cells_become_blocks(cells, size):
    grid = torch.rand(3, cells, cells)
    expected = np.kron(grid, np.ones((size[0] // cells, size[1] // cells)))
    np.testing.assert_array_equal(enlarge(grid, size)[:, 0], expected)


def test_sizes_that_are_no_multiple_of_the_grid_use_every_cell():
    grid = torch.arange(9.0).view(1, 3, 3)
    found = enlarge(grid, (7, 7))
    assert found.unique().tolist() == list(range(9))
    assert (found[0, 0].diff(dim=0) >= 0).all()
    assert (found[0, 0].diff(dim=1) >= 0).all()


@pytest.mark.parametrize(("kernel", "sigma"), [(3, 1.0), (5, 0.4), (13, 6.0)])
def test_blurring_is_scipys_correlation_with_a_truncated_gaussian(kernel, sigma):
    mask = torch.rand(2, 1, 16, 18, dtype=torch.float64)
    offsets = np.arange(kernel) - kernel // 2
    taps = np.exp(-0.5 * (offsets / sigma) ** 2)
    expected = mask.numpy()
    for axis in (2, 3):
        # SciPy's "mirror" is PyTorch's "reflect": the border's pixel is not repeated.
        expected = correlate1d(expected, taps / taps.sum(), axis=axis, mode="mirror")
    np.testing.assert_allclose(blur(mask, kernel, sigma), expected, atol=1e-12)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_a_mask_of_ones_leaves_images_unchanged(kernel):
    x = torch.randn(2, 3, 8, 8)
    mask = blur(enlarge(torch.ones(2, 4, 4), (8, 8)), kernel, 2.0)
    torch.testing.assert_close(apply(x, mask, 1.0), x, rtol=1e-6, atol=1e-6)


def test_a_kernel_of_one_pixel_does_not_blur():
    mask = torch.rand(2, 1, 8, 8)
    assert torch.equal(blur(mask, 1, 3.0), mask)


def test_strength_moves_between_the_image_and_its_product_with_the_mask():
    x, mask = torch.randn(2, 3, 4, 4), torch.rand(2, 1, 4, 4)
    assert torch.equal(apply(x, mask, 0.0), x)
    torch.testing.assert_close(apply(x, mask, 1.0), x * mask.expand(2, 3, 4, 4))
    torch.testing.assert_close(apply(x, mask, 0.25), 0.75 * x + 0.25 * x * mask)


def test_what_does_not_fit_the_image_is_refused():
    with pytest.raises(ConfigError, match="grid_size 9 is finer than images of 8 x 8"):
        enlarge(torch.rand(1, 9, 9), (8, 8))
    with pytest.raises(ConfigError, match="blur_kernel 17 is too wide for images of 8 x 8"):
        blur(torch.rand(1, 1, 8, 8), 17, 1.0)
    with pytest.raises(ConfigError, match="blur_kernel must be odd, not 4"):
        create("noise_mask", {"blur_kernel": 4})
