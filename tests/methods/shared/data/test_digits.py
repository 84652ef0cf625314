import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from sklearn.datasets import load_digits

from regbench.methods.shared.data import load
from regbench.methods.shared.data.digits import digits_data

NAMES = ("digits", "digits_noisy", "digits_noisy40")
SIZES = {"train": 900, "validation": 300, "test": 597}


def rows(name, split):
    """Which of scikit-learn's rows a split holds, found by the pixels."""
    images = load_digits().data
    place = {image.tobytes(): index for index, image in enumerate(images)}
    assert len(place) == len(images)
    x = getattr(load(name), split).tensors[0]
    return [place[(image * 16).to(torch.float64).numpy().tobytes()] for image in x.flatten(1)]


@pytest.mark.parametrize("name", NAMES)
def test_splits_have_their_sizes_and_share_no_image(name):
    found = {split: rows(name, split) for split in SIZES}
    assert {split: len(indices) for split, indices in found.items()} == SIZES
    assert sorted(itertools.chain(*found.values())) == list(range(1797))


@pytest.mark.parametrize("name", NAMES)
def test_images_are_floats_between_zero_and_one(name):
    x = load(name).train.tensors[0]
    assert x.shape == (900, 1, 8, 8) == (900, *load(name).meta["shape"])
    assert x.dtype == torch.float32
    assert (x.min().item(), x.max().item()) == (0, 1)


@pytest.mark.parametrize("split", SIZES)
def test_every_split_has_each_class_in_proportion(split):
    labels = getattr(load("digits"), split).tensors[1]
    share = np.bincount(load_digits().target) / 1797
    assert (np.abs(np.bincount(labels) - share * len(labels)) <= 1).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", SIZES)
def test_labels_belong_to_their_images_except_where_noise_replaced_them(name, split):
    wrong = (getattr(load(name), split).tensors[1].numpy() != load_digits().target[rows(name, split)]).sum()
    if name == "digits" or split != "train":
        assert wrong == 0
    else:
        replaced = {"digits_noisy": 180, "digits_noisy40": 360}[name]
        # A uniform label is right once in ten times: within four standard deviations of the binomial distribution.
        assert wrong <= replaced
        assert abs(wrong - 0.9 * replaced) < 4 * np.sqrt(0.09 * replaced)


def test_all_data_sets_have_the_same_splits():
    assert all(rows(name, split) == rows("digits", split) for name in NAMES[1:] for split in SIZES)


def test_replaced_labels_are_uniform_and_do_not_depend_on_the_image():
    noisy, clean = digits_data("all noise", label_noise=1.0).train.tensors[1], load("digits").train.tensors[1]
    assert chisquare(np.bincount(noisy, minlength=10)).pvalue > 1e-3
    assert abs((noisy == clean).double().mean().item() - 0.1) < 0.04


def test_few_labels_are_ten_of_each_class_of_the_same_training_images():
    small, whole = load("digits_small"), load("digits")
    assert small.train.tensors[1].bincount().tolist() == [10] * 10
    assert set(rows("digits_small", "train")) < set(rows("digits", "train"))
    assert small.train.tensors[1].tolist() == load_digits().target[rows("digits_small", "train")].tolist()
    for split in ("validation", "test"):
        assert all(map(torch.equal, getattr(small, split).tensors, getattr(whole, split).tensors))


def test_noise_is_the_same_every_time():
    again = digits_data("again", label_noise=0.2).train.tensors[1]
    assert torch.equal(again, load("digits_noisy").train.tensors[1])
