"""Data that are not tensors: the batches of tensors, whoever reads them, and errors that name the row."""

import random

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from regbench.methods.errors import ConfigError, DataError
from regbench.methods.registry import create
from regbench.methods.run import Alone, ProcessGroup, Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.loading import labels_of, pixels, rows_of

SIDE = 6


def blobs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey images as bytes ``[N, H, W]`` that are bright above or below, by their class."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, count)
    images = draw.integers(0, 120, (count, SIDE, SIDE))
    for image, label in zip(images, labels, strict=True):
        image[label * SIDE // 2 : (label + 1) * SIDE // 2] += 100
    return images.astype(np.uint8), labels


class Pictures(Dataset):
    """Images as PIL's, with noise from every generator that a dataset may use."""

    def __init__(self, count, seed, noise=0.0):
        self.images, self.targets = blobs(count, seed)
        self.noise = noise

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        image = Image.fromarray(self.images[row])
        if not self.noise:
            return image, self.targets[row]
        drawn = torch.rand(1).item() + np.random.rand() + random.random()
        return torch.from_numpy(pixels(image).copy()).permute(2, 0, 1) / 255 + self.noise * drawn, self.targets[row]


class Rows(Dataset):
    """Any rows."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        return self.rows[row]


META = {"classes": 2, "shape": (1, SIDE, SIDE)}


def pictures(noise=0.0):
    return Data("pictures", *(Pictures(count, seed, noise) for seed, count in enumerate((90, 40, 40))), meta=META)


def in_memory():
    splits = []
    for seed, count in enumerate((90, 40, 40)):
        images, labels = blobs(count, seed)
        splits.append(TensorDataset(torch.from_numpy(images)[:, None] / 255, torch.from_numpy(labels)))
    return Data("tensors", *splits, meta=META)


def world(rank: int, size: int) -> Alone:
    found = Alone()
    found.rank, found.size = rank, size
    return found


def require_equal(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)


@pytest.mark.parametrize("readers", [0, 2])
def test_batches_are_those_of_the_same_rows_as_tensors(readers):
    data, tensors = pictures(), in_memory()
    run, expected = Run(data, readers=readers), Run(tensors)
    for _ in range(2):
        require_equal(run.loader(data.train, 16), expected.loader(tensors.train, 16))
    require_equal(run.loader(data.train, 16, drop_last=True), expected.loader(tensors.train, 16, drop_last=True))
    require_equal(run.batches(data.test, 16), expected.batches(tensors.test, 16))
    require_equal(run.batches(data.test, [7, 33]), expected.batches(tensors.test, [7, 33]))
    index = torch.tensor([3, 0, 3])
    require_equal([run.rows(data.test, index)], [expected.rows(tensors.test, index)])


@pytest.mark.parametrize("method", ["label_smoothing", "mixup", "ps_kd"])
def test_a_training_has_the_curve_of_the_same_rows_as_tensors(method):
    settings = {"epochs": 2, "batch_size": 32, "attack_radius": 0.05}
    curves = [list(create(method, settings).train(Run(data, test=True, readers=0))) for data in (pictures(), in_memory())]
    assert curves[0] == curves[1]


def test_two_workers_have_shares_of_every_batch_that_do_not_meet_and_are_those_of_tensors():
    data, tensors = pictures(), in_memory()
    shares = [[index for *_, index in Run(data, world=world(rank, 2), readers=0).loader(data.train, 16)] for rank in range(2)]
    alone = [index for *_, index in Run(data, readers=0).loader(data.train, 16)]
    for first, second, whole in zip(*shares, alone, strict=True):
        assert len(first) == len(second)
        assert not {*first.tolist()} & {*second.tolist()}
        assert {*first.tolist()} | {*second.tolist()} == {*whole.tolist()}
    expected = [index for *_, index in Run(tensors, world=world(1, 2)).loader(tensors.train, 16)]
    require_equal([shares[1]], [expected])


def test_what_is_random_in_a_dataset_follows_the_seed_and_not_who_reads():
    data, settings = pictures(noise=0.3), {"epochs": 2, "batch_size": 32}

    def curve(**options):
        return list(create("cross_entropy", settings).train(Run(data, **options)))

    states = np.random.get_state()[1].tolist(), random.getstate()
    whole = curve(readers=0)
    assert states == (np.random.get_state()[1].tolist(), random.getstate())
    assert curve(readers=2) == whole
    assert curve(seed=1, readers=0) != whole
    run = Run(data, readers=0)
    next(create("cross_entropy", settings).train(run))
    assert curve(checkpoint=run.state(), readers=1) == whole[1:]


def test_rows_are_read_anew_in_each_epoch_and_alike_in_each_evaluation():
    data = pictures(noise=0.3)
    run = Run(data, readers=0)
    epochs = [torch.cat([x[index.argsort()] for x, _, index in run.loader(data.train, len(data.train))]) for _ in range(2)]
    assert not torch.equal(*epochs)
    # Each row has its own noise.
    assert len((epochs[0] - epochs[1]).flatten(1).mean(1).unique()) > 80
    require_equal(run.batches(data.validation, 16), run.batches(data.validation, 16))


def _train(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    try:
        run = Run(pictures(noise=0.1), world=ProcessGroup(), readers=rank)
        torch.save(list(create("ps_kd", {"epochs": 2, "batch_size": 30}).train(run)), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def test_two_processes_train_one_model_from_a_dataset(tmp_path):
    torch.multiprocessing.start_processes(_train, (str(tmp_path),), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for one, other in zip(first, second, strict=True):
        assert {name: value for name, value in one.items() if "val/" in name}.items() <= other.items()
        assert one["train/loss"] != other["train/loss"]


@pytest.mark.parametrize(
    ("mode", "shape"), [("1", (1, 3, 2)), ("L", (1, 3, 2)), ("LA", (1, 3, 2)), ("P", (3, 3, 2)), ("RGBA", (3, 3, 2))]
)
def test_images_and_bytes_become_numbers_up_to_1(mode, shape):
    x, y = rows_of(Rows([(Image.new(mode, (2, 3), 1), 4)]), torch.tensor([0]))
    assert x.shape == (1, *shape)
    assert x.dtype == torch.float32
    assert 0 <= x.min() <= x.max() <= 1
    assert (y.dtype, y.tolist()) == (torch.int64, [4])
    rows = Rows([(np.full((1, 2, 2), 51, np.uint8), np.float64(0.5), np.int32(3), np.uint8(9))] * 2)
    x, *rest = rows_of(rows, torch.tensor([0, 1]))
    torch.testing.assert_close(x, torch.full((2, 1, 2, 2), 0.2))
    assert [(value.dtype, value.tolist()) for value in rest] == [
        (torch.float32, [0.5, 0.5]),
        (torch.int64, [3, 3]),
        (torch.int64, [9, 9]),
    ]


@pytest.mark.parametrize("readers", [0, 2])
@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"x": 1}, "row 5 of the data set is of type dict, not a tuple"),
        ((torch.zeros(2),), "row 5 of the data set is of type tuple, not a tuple"),
        ((torch.zeros(3), 0), r"row 5 of the data set has shape \(3,\), row 4 \(2,\)"),
    ],
)
def test_rows_that_do_not_fit_are_named_whoever_reads_them(readers, odd, said):
    split = Rows([(torch.zeros(2), 0)] * 5 + [odd] + [(torch.zeros(2), 0)] * 2)
    data = Data("odd", split, split, split, {"classes": 2, "shape": (2,)})
    with pytest.raises(DataError, match=said) as error:
        list(Run(data, readers=readers).batches(split, 2))
    assert "\n" not in str(error.value)


def test_what_needs_all_rows_at_once_refuses_and_names_the_method():
    data = pictures()
    with pytest.raises(ConfigError, match="weighted_logistic_regression needs all rows of 'pictures' at once"):
        type(create("weighted_logistic_regression", {})).require_data(data)
    create("ps_kd", {}).require_data(data)
    type(create("weighted_logistic_regression", {})).require_data(in_memory())
    with pytest.raises(ConfigError, match="'pictures' is read in batches"):
        Run(data).tensors(data.train)
    with pytest.raises(ConfigError, match="'plain' needs an attribute `targets`"):
        labels_of(Rows([(torch.zeros(2), 0)]), "plain")


@pytest.mark.parametrize("readers", [0, 2])
def test_large_batches_are_read_piece_by_piece(readers, monkeypatch):
    monkeypatch.setattr("regbench.methods.shared.loading.AT_ONCE", 7)
    data, tensors = pictures(), in_memory()
    require_equal(Run(data, readers=readers).loader(data.train, 40), Run(tensors).loader(tensors.train, 40))
    odd = Rows([(torch.zeros(2), 0)] * 7 + [(torch.zeros(3), 0)] * 3)
    data = Data("odd", odd, odd, odd, {"classes": 2, "shape": (2,)})
    with pytest.raises(DataError, match="rows 0 and 9 of the data set, or some between them, have different shapes"):
        list(Run(data, readers=readers).batches(odd, 10))
