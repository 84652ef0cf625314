import pytest
import torch

from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.augmentation import augment, shift


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
