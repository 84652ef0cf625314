"""Samples to model the density of: their distributions, their outliers, and halves of image sets."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, load
from regbench.methods.shared.data.densities import image_halves


@pytest.mark.parametrize("mean", [1, 2, 3, 5])
def test_gaussian_samples_and_their_outliers(mean):
    data = load(f"gaussian_mean_{mean}")
    assert len(data.train) == 50_000
    for split in (data.validation, data.test):
        x, outlier = split.tensors
        assert kstest(x[~outlier, 0].numpy(), norm(mean, 1).cdf).pvalue > 1e-3
        assert kstest(x[outlier, 0].numpy(), norm(mean, 3).cdf).pvalue > 1e-3
    assert kstest(data.train.tensors[0][:, 0].numpy(), norm(mean, 1).cdf).pvalue > 1e-3


def test_the_ring_has_the_cards_true_negative_log_likelihood():
    x, outlier = load("gaussian_ring").test.tensors
    angle = 2 * np.pi * np.arange(8) / 8
    centres = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    squares = ((x[~outlier].numpy()[:, None] - centres) ** 2).sum(2)
    density = np.exp(-squares / (2 * 0.04)).mean(1) / (2 * np.pi * 0.04)
    assert -np.log(density).mean() == pytest.approx(1.697, abs=0.05)
    assert outlier.sum() == 1000
    assert x[outlier].abs().max() <= 4


def test_codes_are_white_and_hold_the_learned_digits_alone():
    data = load("digit_codes")
    x, y = data.train.tensors
    assert set(y.tolist()) == {0, 1, 2, 3, 4}
    np.testing.assert_allclose(np.cov(x.T.numpy()), np.eye(16), atol=1e-3)
    for split in (data.validation, data.test):
        assert len(split) == 300
        assert 0.4 < split.tensors[1].double().mean() < 0.6


def test_half_of_the_classes_are_outliers_and_bytes_are_spread_over_their_interval():
    bytes_, labels = torch.randint(256, (40, 1, 16, 16), generator=torch.Generator().manual_seed(0)), torch.arange(40) % 10
    split = TensorDataset(bytes_ / 255, labels)
    data = image_halves("halves", Data("images", split, split, split, {"shape": (1, 16, 16), "classes": 10}))
    x, y = data.train.tensors
    assert y.tolist() == labels[labels < 5].tolist()
    assert torch.equal(((x.double() + 1) * 128).floor().long(), bytes_[labels < 5])
    x, outlier = data.test.tensors
    order = torch.cat([(labels < 5).nonzero()[:, 0], (labels >= 5).nonzero()[:, 0]])
    assert torch.equal(((x.double() + 1) * 128).floor().long(), bytes_[order])
    assert outlier.tolist() == [False] * 20 + [True] * 20
