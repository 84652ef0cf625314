"""Images of known and novel classes, and images to be clustered: what is labelled, what is judged, and files that are read."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.io import savemat
from torch.utils.data import TensorDataset

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, clusters, discovery, load, usps
from regbench.methods.shared.data.discovery import discovery_data
from regbench.methods.shared.data.omniglot_characters import read_omniglot

RANDOM = np.random.default_rng(0)
OMNIGLOT = Path(os.environ.get("REGBENCH_DATA", "")) / "omniglot" / "omniglot.parquet"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    return tmp_path


def test_part_of_known_classes_is_labelled_and_the_rest_is_judged():
    x, labels = RANDOM.random((120, 1, 4, 4)), np.arange(120) % 4
    data = discovery_data("x", x, labels, known=[3, 1], labelled=0.4)
    images, y, labelled = data.train.tensors
    assert data.meta == {"classes": 4, "known": 2, "shape": (1, 4, 4)}
    torch.testing.assert_close(images, torch.tensor(x, dtype=torch.float32))
    # Class 3 is the first known one, class 1 the second.
    assert (torch.tensor(labels)[labelled] == torch.tensor([3, 1])[y[labelled]]).all()
    assert y[labelled].bincount().tolist() == [12, 12]
    assert (y[~labelled] == -1).all()
    judged = torch.cat([data.validation.tensors[0], data.test.tensors[0]])
    assert len(judged) == 96
    assert {tuple(image.ravel().tolist()) for image in judged} == {tuple(image.ravel().tolist()) for image in images[~labelled]}
    assert torch.cat([data.validation.tensors[1], data.test.tensors[1]]).bincount().tolist() == [18, 18, 30, 30]
    assert len(data.validation) == 32


def test_labels_of_judged_images_are_those_of_their_classes():
    data = load("digits_discovery_few")
    assert data.train.tensors[2].sum() == 45
    by_image = {tuple(x.ravel().tolist()): int(y) for x, y in zip(*load("digits").test.tensors, strict=True)}
    found = {tuple(x.ravel().tolist()): int(y) for x, y in zip(*data.test.tensors, strict=True)}
    common = by_image.keys() & found.keys()
    assert len(common) > 300
    assert all(by_image[image] == found[image] for image in common)


def drawing_table(path, alphabets, images):
    """A table of drawings, from its description."""
    padded = np.concatenate([images.reshape(len(images), -1), np.zeros((len(images), 7), np.uint8)], axis=1)
    bits = [np.packbits(row).tobytes() for row in padded]
    names = [name for name, characters in alphabets for _ in range(characters) for _ in range(2)]
    numbers = [1 + number for _, characters in alphabets for number in range(characters) for _ in range(2)]
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"alphabet": names, "character": numbers, "image_bits": bits}), path)


def test_drawings_are_read_as_they_were_written(tmp_path):
    images = RANDOM.integers(2, size=(10, 105, 105), dtype=np.uint8)
    drawing_table(tmp_path / "x.parquet", [("Greek", 2), ("Latin", 2), ("Runes", 1)], images)
    found, classes = read_omniglot(tmp_path / "x.parquet", ["Latin", "Greek"])
    np.testing.assert_array_equal(found, np.concatenate([images[4:8], images[:4]]))
    assert classes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(DataError, match="lacks the alphabet Hebrew"):
        read_omniglot(tmp_path / "x.parquet", ["Hebrew"])


def test_what_is_no_table_of_drawings_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="is no table of Omniglot's drawings"):
        read_omniglot(path, ["Greek"])
    pq.write_table(pa.table({"alphabet": ["Greek"], "character": [1], "image_bits": [b"12"]}), path)
    with pytest.raises(DataError, match="a drawing does not have 1379 bytes"):
        read_omniglot(path, ["Greek"])


@pytest.mark.skipif(not OMNIGLOT.is_file(), reason="needs Omniglot below REGBENCH_DATA")
def test_letters_of_omniglot():
    data = discovery.omniglot_discovery()
    assert data.meta == {"classes": 50, "known": 25, "shape": (1, 16, 16)}
    images, y, labelled = data.train.tensors
    assert (len(images), int(labelled.sum())) == (1000, 250)
    assert y[labelled].bincount().tolist() == [10] * 25
    assert 0.02 < images.mean() < 0.2
    found = clusters.omniglot_clusters()
    torch.testing.assert_close(found.train.tensors[0], 2 * images - 1)
    assert torch.cat([found.validation.tensors[1], found.test.tensors[1]]).bincount().tolist() == [20] * 50


@pytest.mark.skipif(not OMNIGLOT.is_file(), reason="needs Fashion-MNIST beside Omniglot below REGBENCH_DATA")
def test_articles_of_fashion_halved():
    data = discovery.fashion_discovery()
    images, y, labelled = data.train.tensors
    assert images.shape == (3000, 1, 14, 14)
    assert images.amin() >= 0
    assert images.amax() <= 1
    assert (y[labelled] < 5).all()
    assert 0.45 * 1500 < labelled.sum() < 0.55 * 1500
    found = clusters.fashion_clusters()
    torch.testing.assert_close(found.train.tensors[0], 2 * images - 1)


def test_unbalanced_digits():
    data = load("digits_clusters_unbalanced")
    y = torch.cat([data.validation.tensors[1], data.test.tensors[1]])
    # A digit has at least 174 images.
    assert all(count >= 174 for count in y.bincount()[:5])
    assert y.bincount()[5:].tolist() == [18] * 5


def test_usps_from_its_matlab_file(folder):
    images = RANDOM.integers(256, size=(10, 6, 16, 16), dtype=np.uint8)  # class, number, row, column
    stored = images.transpose(0, 1, 3, 2).reshape(10, 6, 256).transpose(2, 1, 0)
    (folder / "usps").mkdir()
    savemat(folder / "usps" / "usps_all.mat", {"data": stored})
    found, digits = usps.read_usps(folder / "usps" / "usps_all.mat")
    np.testing.assert_array_equal(found, images.reshape(60, 16, 16))
    assert digits.tolist() == np.repeat([1, 2, 3, 4, 5, 6, 7, 8, 9, 0], 6).tolist()
    data = usps.usps_clusters()
    assert data.meta == {"classes": 10, "shape": (1, 16, 16)}
    torch.testing.assert_close(data.train.tensors[0][:, 0], torch.tensor(images.reshape(60, 16, 16)) / 127.5 - 1)
    savemat(folder / "usps" / "usps_all.mat", {"data": stored[:, :, :9]})
    with pytest.raises(DataError, match=r"not 256 x 1100 x 10 bytes"):
        usps.usps_clusters()
    (folder / "usps" / "usps_all.mat").write_bytes(b"nothing at all")
    with pytest.raises(DataError, match="is damaged, copy it again"):
        usps.usps_clusters()


def test_cifars_training_images_are_put_together_again():
    plain = discovery_data("plain", RANDOM.random((40, 3, 4, 4)), np.arange(40) % 4, known=[0], labelled=0.5)
    x, y = torch.tensor(RANDOM.random((40, 3, 4, 4)), dtype=torch.float32), torch.arange(40) % 4
    parts = TensorDataset(x[:30], y[:30]), TensorDataset(x[30:], y[30:]), plain.test
    data = discovery.cifar_discovery(Data("cifar10", *parts, {"classes": 4, "shape": (3, 4, 4)}), known=2)
    assert data.name == "cifar10_discovery"
    assert torch.equal(data.train.tensors[0], x)
    assert data.train.tensors[1][data.train.tensors[2]].bincount().tolist() == [5, 5]
