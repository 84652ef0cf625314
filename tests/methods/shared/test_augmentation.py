import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from pydantic import ValidationError
from scipy.ndimage import affine_transform, rotate

from regbench.methods.errors import ConfigError
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.augmentation import (
    STEPS,
    Views,
    add_noise,
    augment,
    composition,
    jitter_colours,
    mirror,
    recolour,
    shift,
    two_views,
)
from regbench.methods.strict import explain


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


# Compositions


def drawn(augmentation, x, seed=0):
    return composition(augmentation)(x, torch.Generator().manual_seed(seed))


def test_names_stand_for_what_they_are_composed_of():
    x = images(30, 3, 8, 8)
    assert torch.equal(drawn(["crop"], x), drawn("shift", x))
    assert torch.equal(drawn(["crop"], x), drawn([{"crop": 4}], x))
    steps = torch.Generator().manual_seed(0)
    expected = add_noise(mirror(shift(x, steps, flip=False, margin=2), 0.5, steps), 0.05, steps)
    assert torch.equal(drawn([{"crop": 2}, "flip", "noise"], x), expected)
    assert drawn([], x) is x


@pytest.mark.parametrize("name", STEPS)
def test_a_step_follows_its_seed_keeps_shapes_and_hardly_changes_an_image_by_a_tiny_amount(name):
    x = images(20, 3, 8, 8)
    found = drawn([name], x)
    assert found.shape == x.shape
    assert torch.equal(drawn([name], x), found)
    assert not torch.equal(drawn([name], x, seed=1), found)
    if name != "crop":
        # Of flips, so few are drawn that there is none.
        torch.testing.assert_close(drawn([{name: 1e-6}], x), x, atol=1e-4, rtol=0)


def test_images_are_mirrored_as_often_as_asked():
    x = images(2000, 1, 2, 2)
    found = mirror(x, 0.3, torch.Generator().manual_seed(0))
    mirrored = (found == x.flip(3)).flatten(1).all(1)
    assert (mirrored | (found == x).flatten(1).all(1)).all()
    assert mirrored.double().mean().item() == pytest.approx(0.3, abs=0.04)


def test_a_rotated_image_is_what_scipy_makes_of_it_at_some_angle_of_the_range():
    x = images(1, 1, 9, 9).double()
    turned = drawn([{"rotation": 30}], x)[0, 0].numpy()
    errors = {
        angle: np.abs(rotate(x[0, 0].numpy(), angle, reshape=False, order=1, mode="grid-constant") - turned).max()
        for angle in np.arange(-30, 30.01, 0.05)
    }
    assert min(errors.values()) < 5e-3


@pytest.mark.parametrize(("name", "place", "factor"), [("Brightness", 0, 1.1), ("Contrast", 1, 0.8), ("Color", 2, 1.3)])
def test_changes_of_colour_are_those_of_pillow(name, place, factor):
    pixels = np.random.default_rng(0).integers(60, 160, (6, 5, 3)).astype(np.uint8)
    expected = getattr(ImageEnhance, name)(Image.fromarray(pixels)).enhance(factor)
    factors = torch.ones(3, 1)
    factors[place] = factor
    found = recolour(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255, *factors)
    # Pillow works on bytes.
    np.testing.assert_allclose((255 * found[0]).permute(1, 2, 0).numpy(), np.asarray(expected), atol=1.5)


def test_factors_of_colour_are_within_their_range_and_differ_between_images():
    x = torch.full((500, 1, 2, 2), 0.5)
    factors = jitter_colours(x, 0.4, torch.Generator().manual_seed(0))[:, 0, 0, 0] / 0.5
    assert factors.min() >= 0.6
    assert factors.max() <= 1.4
    assert len(factors.unique()) > 400
    assert factors.mean().item() == pytest.approx(1.0, abs=0.04)


def test_a_training_follows_its_seed_and_goes_on_as_it_would_have():
    settings = {"epochs": 2, "augmentation": [{"crop": 1}, "rotation", "noise"]}
    whole = list(create("cross_entropy", settings).train(Run("digits_small")))
    assert whole == list(create("cross_entropy", settings).train(Run("digits_small")))
    assert whole != list(create("cross_entropy", settings | {"augmentation": ["rotation"]}).train(Run("digits_small")))
    run = Run("digits_small")
    next(create("cross_entropy", settings).train(run))
    assert list(create("cross_entropy", settings).train(Run("digits_small", checkpoint=run.state()))) == whole[1:]


@pytest.mark.parametrize(
    ("augmentation", "said"),
    [
        ("crop", "must be one of none, shift, shift_and_flip, or a list"),
        (["crp"], "unknown augmentation 'crp'; did you mean 'crop'?"),
        ([{"crop": 2.5}], "crop takes a whole number above 0, not 2.5"),
        ([{"flip": 2}], "flip takes a real number above 0, at most 1, not 2"),
        ([{"flip": 0.1, "crop": 1}], "a name, or one name with its amount"),
        ([3], "a name, or one name with its amount"),
        ([{"v2:RandAugment": 2}], "v2:RandAugment takes settings by name"),
    ],
)
def test_what_is_no_augmentation_is_refused_in_a_line(augmentation, said):
    with pytest.raises((ValidationError, ConfigError)) as error:
        create("cross_entropy", {"augmentation": augmentation})
    text = explain(error.value) if isinstance(error.value, ValidationError) else str(error.value)
    assert said in text


def test_rows_of_a_table_are_not_augmented():
    with pytest.raises(ConfigError, match=r"an input of digits has shape \(64,\)"):
        augment(torch.zeros(2, 64), ["crop"], Run("digits"))


# Views


def test_two_views_are_one_of_each_image_and_then_another_of_each():
    x = images(5, 1, 6, 6)
    both = two_views(x, composition([{"noise": 1e-4}]), torch.Generator().manual_seed(0))
    torch.testing.assert_close(both, torch.cat([x, x]), atol=1e-3, rtol=0)
    assert not torch.equal(both[:5], both[5:])


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
