"""Every data set in two splits: split 0 is what it has always been, split 1 another one of the same task."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from regbench.methods.errors import ConfigError, DataError
from regbench.methods.run import Run
from regbench.methods.shared import data as data_sets
from regbench.methods.shared.data import KEPT, Data, data_root, load, sources
from regbench.methods.shared.data.discovery import cifar_discovery

PARTS = ("train", "validation", "test")
# Pairs of tiles at full size are gigabytes; their loaders differ from this one's by the number of tiles alone.
LARGE = {"spatial_omniglot_4", "spatial_omniglot_9", "stacked_omniglot_4", "stacked_omniglot_9"}
OFFICIAL = {
    *("animated_stickers", "bsd_images", "camelyon16", "cfdbench_cylinder", "cfdbench_dam", "cifar10", "cifar100"),
    *(
        "blurred_celeba",
        "cifar10_halves",
        "div2k",
        "div2k_set5",
        "div2k_set5_x4",
        "div2k_set14_x4",
        "noisy_mnist",
        "projected_mayo",
        "sensed_mayo",
    ),
    *("cifar10_images", "fashion_mnist", "fashion_mnist_halves", "medmnist_radiology", "mnist_12", "private_fashion_mnist"),
    *("kodak_set5_x2", "kodak_set5_x4", "stl10", "svhn"),
}
# All images are learned from, by no label.
CLUSTERED = {
    *("digits_clusters", "fashion_test_clusters", "mnist_full_clusters", "mnist_test_clusters", "omniglot_clusters"),
    "usps_clusters",
}
SAMPLED = {"digit_codes", "fashion_discovery"}
# Pools of which the three splits take each row once.
PARTITIONS = (
    *("digits", "digits_noisy", "digits_noisy40", "digits_16", "digit_images", "scenes", "dsprites", "natural_images"),
    *("kodak_96", "kodak_256", "private_digits", "private_diabetes", "private_breast_cancer", "color_photographs"),
)
TABLES = (
    *("diabetes", "concrete", "energy", "yacht", "kin8nm", "power_plant", "wine_quality_red", "bike_hour", "beijing_pm25"),
    *("appliances_energy", "compas", "musk1", "musk2"),
)


def here():
    """The data sets that can be loaded without files, or whose files are here."""
    root = data_root()
    folders = {path.name for path in root.iterdir() if path.is_dir()} if root and root.is_dir() else set()
    return [name for name, source in sources().items() if source.folder in folders | {None} and name not in LARGE]


def loaded(name, split):
    """A data set, or a skip where its folder lacks the files."""
    try:
        return load(name, split)
    except DataError as error:
        pytest.skip(str(error))


def tensors(data, part):
    """All that a split holds."""
    rows = getattr(data, part)
    return [*rows.tensors, *(rows.instances.tensors if hasattr(rows, "instances") else ())]


def same(first, second, part):
    """Whether two data sets hold the same in a split."""
    return all(map(torch.equal, tensors(first, part), tensors(second, part)))


def fingerprint(data, part):
    """One number that depends on each value and on its place, and the scale of such numbers."""
    number = scale = 0.0
    for tensor in tensors(data, part):
        rows = tensor.reshape(len(tensor), -1)
        across, down = (torch.arange(1, length + 1).double().sin() for length in (rows.shape[1], len(rows)))
        projected = torch.cat([some.double() @ across for some in rows.split(1000)])
        number += (projected @ down).item()
        scale += projected.norm().item()
    return number, scale


def recorded():
    """Data set -> the fingerprints of its splits before splits had numbers."""
    with (Path(__file__).parent / "split_0.csv").open(encoding="utf-8", newline="") as file:
        return {row["data"]: [float(row[part]) for part in PARTS] for row in csv.DictReader(file)}


@pytest.fixture(params=here(), scope="module")
def name(request):
    """Of a data set; all tests of one follow one another, so that it is read once."""
    return request.param


@pytest.fixture(scope="module")
def resplit(name):
    """The name of a data set that can be split anew."""
    if not sources()[name].splits:
        pytest.skip("keeps its split")
    return name


def test_split_0_is_what_it_was_before_splits_had_numbers(name):
    if name not in recorded():
        pytest.skip("its files were not at hand then")
    data = loaded(name, 0)
    for part, expected in zip(PARTS, recorded()[name], strict=True):
        found, scale = fingerprint(data, part)
        # Other processors round the last bits of means and simulations otherwise.
        assert abs(found - expected) <= 1e-5 * scale


def test_split_1_holds_other_rows_of_the_same_kind(resplit):
    first, second = loaded(resplit, 0), loaded(resplit, 1)
    for part in PARTS:
        old, new = getattr(first, part), getattr(second, part)
        # What is learned of a random sample may be some rows more or less.
        assert abs(len(old) - len(new)) <= (0.01 * len(old) if resplit in SAMPLED else 0)
        assert [(x.shape[1:], x.dtype) for x in old.tensors] == [(x.shape[1:], x.dtype) for x in new.tensors]
        assert same(first, second, part) == (resplit in CLUSTERED and part == "train")
    assert first.pool == second.pool
    # Targets of tables are in units of the training rows' deviation.
    assert first.meta.keys() == second.meta.keys()
    assert all(second.meta[key] == value for key, value in first.meta.items() if key != "scale")


def test_a_split_is_the_same_every_time(resplit):
    if sources()[resplit].folder is not None:
        pytest.skip("reading files again takes long, and draws nothing more")
    again = sources()[resplit].read(1)
    assert all(same(load(resplit, 1), again, part) for part in PARTS)


def images(data):
    """The bytes of each row's first tensor, of a pair of images the clean one."""
    parts = [*PARTS, "auxiliary"] if hasattr(data, "auxiliary") else PARTS
    clean = 1 if data.name in ("natural_images", "kodak_96", "kodak_256") else 0
    return [row.numpy().tobytes() for part in parts for row in getattr(data, part).tensors[clean]]


@pytest.mark.parametrize("name", [name for name in PARTITIONS if name in here()])
def test_splits_divide_the_pool(name):
    first, second = loaded(name, 0), loaded(name, 1)
    assert len(images(first)) == first.pool
    assert sorted(images(first)) == sorted(images(second))


def projections(data):
    """Random combinations of each row's values, in ascending order; each column fills [0, 1], whatever its units are."""
    parts = [getattr(data, part) for part in PARTS]
    parts = [getattr(part, "instances", part) for part in parts]
    tensors = [torch.cat(same) for same in zip(*(part.tensors for part in parts), strict=True)]
    rows = np.column_stack([tensor.reshape(len(tensor), -1).double().numpy() for tensor in tensors])
    rows = (rows - rows.min(0)) / np.maximum(np.ptp(rows, axis=0), 1e-9)
    return np.sort(rows @ np.random.default_rng(0).uniform(size=rows.shape[1]))


@pytest.mark.parametrize("name", [name for name in TABLES if name in here()])
def test_splits_of_a_table_divide_its_rows(name):
    first, second = loaded(name, 0), loaded(name, 1)
    assert sum(len(getattr(second, part)) for part in PARTS) == first.pool
    np.testing.assert_allclose(projections(first), projections(second), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [name for name in here() if "discovery" in name or "clusters" in name])
def test_what_is_judged_is_divided_anew_among_the_images_learned_from(name):
    first, second = loaded(name, 0), loaded(name, 1)
    for data in (first, second):
        learned, validation, test = (
            {row.numpy().tobytes() for row in split.tensors[0]} for split in (data.train, data.validation, data.test)
        )
        assert validation | test <= learned
        # A few images of Fashion-MNIST and Omniglot occur twice.
        assert len(validation & test) <= 0.01 * len(test)
        assert len(data.train) <= data.pool


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("digits", 597 / 1797),
        ("digits_small", 597 / 1797),
        ("digit_bags", 597 / 1797),
        ("spatial_digits_4", 597 / 1797),
        ("digit_histograms", 400 / 1797),
        ("private_digits", 297 / 1797),
        ("digits_clusters", 1198 / 1797),
        ("friedman", 0),
        ("sparse_toeplitz", 0),
        ("gaussian_ring", 0),
        ("lorenz63", 0),
        ("quadratic_problems", 0),
        ("gerrymandering", 0),
        ("laplace_samples", 0),
        ("blurred_digits", 200 / 1797),
        ("color_photographs", 2 / 9),
    ],
)
def test_the_pool_tells_the_share_of_rows_that_test(name, share):
    data = load(name)
    assert (len(data.test) / data.pool if data.pool else 0) == pytest.approx(share, rel=1e-3)


def test_test_images_of_digits_are_drawn_with_their_share():
    """Two splits share a test row as often as chance says; so do the images of the sets that are made of digits."""
    tested = [set(images(load("digits", split))[1200:]) for split in range(6)]
    shared = np.mean([len(a & b) for place, a in enumerate(tested) for b in tested[place + 1 :]])
    assert shared / 597 == pytest.approx(597 / 1797, rel=0.1)
    assert images(load("digits_noisy", 3)) == images(load("digits", 3))


def test_generated_splits_share_no_row():
    for name in ("friedman", "gerrymandering", "gaussian_ring", "sparse_toeplitz", "quadratic_problems", "gaussian_clouds"):
        assert load(name).pool == 0
        rows = [{row.numpy().tobytes() for row in load(name, split).train.tensors[0]} for split in (0, 1, 2)]
        assert not rows[0] & rows[1] | rows[0] & rows[2] | rows[1] & rows[2]


def test_the_task_stays_where_it_is_one_task():
    """The map from states to observations, the coefficients of the mixed model, and the classes that are known."""
    first, second = load("van_der_pol"), load("van_der_pol", 1)
    assert first.meta == second.meta
    assert torch.equal(load("clustered").test.draw(0).coefficients, load("clustered", 1).test.draw(0).coefficients)
    y, labelled = load("digits_discovery", 1).train.tensors[1:]
    assert y[labelled].unique().tolist() == list(range(5))
    for name in ("digits_noisy", "digits_noisy40"):
        wrong = (load(name, 2).train.tensors[1] != load("digits", 2).train.tensors[1]).double().mean().item()
        assert wrong == pytest.approx({"digits_noisy": 0.18, "digits_noisy40": 0.36}[name], abs=0.03)


def test_known_classes_of_cifar_stay_and_labels_are_drawn_anew():
    x, y = torch.rand(80, 3, 4, 4), torch.arange(80) % 4
    halves = [TensorDataset(x[rows], y[rows]) for rows in (slice(0, 60), slice(60, 80))]
    first, second = (cifar_discovery(Data("c", *halves, halves[0]), 2, split) for split in (0, 1))
    assert first.pool == second.pool == 80
    for data in (first, second):
        _, visible, labelled = data.train.tensors
        assert visible[labelled].bincount().tolist() == [10, 10]
        assert (data.meta["known"], len(data.validation), len(data.test)) == (2, 20, 40)
    assert not torch.equal(first.train.tensors[2], second.train.tensors[2])


def test_official_splits_are_kept_and_said_to_be():
    assert {name for name, source in sources().items() if not source.splits} == OFFICIAL
    for name in sorted(OFFICIAL):
        with pytest.raises(ConfigError, match=f"'{name}' keeps the split that it is published with: leave out resplit"):
            load(name, 1)
    with pytest.raises(ConfigError, match="numbered from 0: there is no split -1 of 'digits'"):
        load("digits", -1)


def test_a_run_loads_the_split_that_it_is_told():
    assert Run("digits").data is load("digits") is load("digits", 0)
    assert Run("digits", split=2).data is load("digits", split=2) is not load("digits")


def test_a_process_keeps_the_last_sets_only():
    data_sets._loaded.cache_clear()
    first = load("diabetes")
    for split in range(1, KEPT):
        load("diabetes", split)
    assert load("diabetes") is first
    for split in range(KEPT, 2 * KEPT):
        load("diabetes", split)
    assert load("diabetes") is not first
