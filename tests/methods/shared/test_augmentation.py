import math

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.augmentation import Views, augment, shift


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("flips", [{False, True}, {False}])
def test_moved_images_are_crops_of_the_padded_one_and_mirrored_if_asked(flips):
    x = images(40, 2, 6, 6)
    found = shift(x, torch.Generator().manual_seed(0), flip=True in flips)
    padded = torch.nn.functional.pad(x, (4,) * 4)
    seen = set()
    for image, wide in zip(found, padded, strict=True):
        matches = [
            (row, column, flip)
            for row in range(9)
            for column in range(9)
            for flip in (False, True)
            if torch.equal(image.flip(2) if flip else image, wide[:, row : row + 6, column : column + 6])
        ]
        assert matches
        seen.update(matches)
    assert {flip for *_, flip in seen} == flips
    assert len({(row, column) for row, column, _ in seen}) > 20


def test_without_augmentation_images_stay_and_no_number_is_drawn():
    x = images(3, 1, 4, 4)
    assert augment(x, "none", Run("digits")) is x


def test_a_classifier_trains_on_augmented_images_and_is_judged_on_others():
    settings = {"epochs": 1, "learning_rate": 1e-12}
    losses = {}
    for augmentation in ("none", "shift", "shift_and_flip"):
        (metrics,) = create("cross_entropy", settings | {"augmentation": augmentation}).train(Run("digits"))
        losses[augmentation] = metrics
    assert len({metrics["train/loss"] for metrics in losses.values()}) == 3
    # Nothing was learned, so that the same network was judged, and on the same images.
    assert len({round(metrics["val/nll"], 6) for metrics in losses.values()}) == 1


# Views


def test_views_that_change_nothing_are_the_image():
    x = images(5, 2, 8, 6)
    still = Views(rotation=0.0, scale=0.0, shift=0.0, noise=0.0)
    torch.testing.assert_close(still.draw(x, torch.Generator().manual_seed(0)), x)


def test_a_mirrored_view_is_the_image_or_its_mirror_image():
    x = images(40, 1, 6, 8)
    found = Views(rotation=0.0, scale=0.0, shift=0.0, noise=0.0, flip=True).draw(x, torch.Generator().manual_seed(0))
    mirrored = [torch.allclose(view, image.flip(2), atol=1e-5) for view, image in zip(found, x, strict=True)]
    same = [torch.allclose(view, image, atol=1e-5) for view, image in zip(found, x, strict=True)]
    assert all(one != other for one, other in zip(mirrored, same, strict=True))
    assert 8 < sum(mirrored) < 32


def test_views_are_what_scipy_makes_of_the_same_affine_map():
    """Sampled at the places of a rotation, a change of size and a move, in images that are not square, too."""
    x = images(6, 1, 9, 12).double()
    views = Views(rotation=0.6, scale=0.2, shift=1.5, noise=0.0)
    found = views.draw(x, torch.Generator().manual_seed(3))
    angle, size, across, down = torch.rand(4, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 2 - 1
    centre = np.array([4.0, 5.5])
    for number in range(6):
        turn, scale = 0.6 * angle[number].item(), 1 + 0.2 * size[number].item()
        cosine, sine = math.cos(turn) / scale, math.sin(turn) / scale
        matrix = np.array([[cosine, sine], [-sine, cosine]])  # rows, then columns
        move = 1.5 * np.array([down[number].item(), across[number].item()])
        offset = centre + move - matrix @ centre
        expected = affine_transform(x[number, 0].numpy(), matrix, offset, order=1, mode="grid-constant")
        np.testing.assert_allclose(found[number, 0].numpy(), expected, atol=1e-6)


def test_views_of_an_image_differ_and_have_the_noise_that_is_asked_for():
    x = torch.full((50, 1, 20, 20), 0.5)
    found = Views(rotation=0.0, scale=0.0, shift=0.0, noise=0.1).draw(x, torch.Generator().manual_seed(0))
    assert (found - x).std().item() == pytest.approx(0.1, rel=0.05)
    pair = Views().draw(images(1, 1, 8, 8).repeat(2, 1, 1, 1), torch.Generator().manual_seed(0))
    assert not torch.allclose(*pair)
