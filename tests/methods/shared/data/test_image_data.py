import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from regbench.methods.errors import DataError
from regbench.methods.shared.data import fashion_mnist as idx_files
from regbench.methods.shared.data import load, mnist
from regbench.methods.shared.data import stl10 as objects
from regbench.methods.shared.data import svhn as house_numbers
from regbench.methods.shared.data.cifar import cifar10, cifar100, cifar_data, for_generation, read_cifar
from regbench.methods.shared.data.fashion_mnist import fashion_mnist, read_idx
from regbench.methods.shared.data.mnist import mnist_12, shrunken
from regbench.methods.shared.data.public_images import image_data
from regbench.methods.shared.data.stl10 import read_stl10, stl10
from regbench.methods.shared.data.svhn import read_svhn, svhn

RANDOM = np.random.default_rng(0)
FASHION = Path(os.environ.get("REGBENCH_DATA", "")) / "fashion_mnist" / "train-images-idx3-ubyte.gz"


def write_idx(path, array, *, magic=None, cut=0):
    """An IDX file, from its published description."""
    header = [0x0800 + array.ndim if magic is None else magic, *array.shape]
    content = b"".join(number.to_bytes(4, "big") for number in header) + array.tobytes()
    path.write_bytes(gzip.compress(content[: len(content) - cut]))
    return path


def write_cifar(path, images, *labels):
    """A file of CIFAR's binary version: label bytes, then the red, green and blue planes, for each image."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        for image, *bytes_before in zip(images, *labels, strict=True):
            file.write(bytes(int(byte) for byte in bytes_before) + image.tobytes())
    return path


def bytes_array(*shape, high=256):
    return RANDOM.integers(high, size=shape, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("shape", [(5, 28, 28), (5,)])
def test_idx_files_are_read_as_they_were_written(tmp_path, shape):
    array = bytes_array(*shape)
    np.testing.assert_array_equal(read_idx(write_idx(tmp_path / "file.gz", array), shape), array)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"magic": 2049}, "magic number is 2049, not 2051"),
        ({"magic": 0x0D03}, "magic number is 3331, not 2051"),
        ({"cut": 1}, "holds 3135 bytes"),
        ({"cut": 4 * 28 * 28 + 10}, "holds an array of shape"),
        ({"cut": 4 * 28 * 28 + 15}, "magic number"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path, damage, message):
    path = write_idx(tmp_path / "file.gz", bytes_array(4, 28, 28), **damage)
    with pytest.raises(DataError, match=message):
        read_idx(path, (4, 28, 28))


def test_idx_files_of_another_shape_are_refused(tmp_path):
    path = write_idx(tmp_path / "file.gz", bytes_array(4, 28, 28))
    with pytest.raises(DataError, match=r"shape \(4, 28, 28\), not \(5, 28, 28\)"):
        read_idx(path, (5, 28, 28))


def test_idx_files_longer_than_their_header_says_are_refused(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(gzip.decompress(write_idx(path, bytes_array(4)).read_bytes()) + b"\0"))
    with pytest.raises(DataError, match="holds 5 bytes"):
        read_idx(path, (4,))


@pytest.mark.parametrize("damage", ["truncated", "not compressed", "flipped"])
def test_broken_compression_is_refused(tmp_path, damage):
    path = write_idx(tmp_path / "file.gz", bytes_array(4, 28, 28))
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[: len(content) // 2],
            "not compressed": gzip.decompress(content),
            "flipped": content[:100] + bytes([content[100] ^ 255]) + content[101:],
        }[damage]
    )
    with pytest.raises(DataError, match="is damaged, copy it again"):
        read_idx(path, (4, 28, 28))


@pytest.mark.parametrize("label_bytes", [1, 2])
def test_cifar_files_are_read_as_they_were_written(tmp_path, label_bytes):
    images, labels = bytes_array(6, 3, 32, 32), bytes_array(label_bytes, 6, high=10)
    found, last = read_cifar(write_cifar(tmp_path / "x.bin", images, *labels), 6, label_bytes)
    np.testing.assert_array_equal(found, images)
    np.testing.assert_array_equal(last, labels[-1])  # CIFAR-100: the fine label follows the coarse one


@pytest.mark.parametrize(("count", "label_bytes"), [(5, 1), (7, 1), (6, 2)])
def test_cifar_files_of_another_size_are_refused(tmp_path, count, label_bytes):
    path = write_cifar(tmp_path / "x.bin", bytes_array(6, 3, 32, 32), bytes_array(6, high=10))
    with pytest.raises(DataError, match=f"18438 bytes in place of {count} images"):
        read_cifar(path, count, label_bytes)


def test_cifar_in_several_files(folder):
    images, labels = bytes_array(40, 3, 32, 32), np.tile(np.arange(4, dtype=np.uint8), 10)
    write_cifar(folder / "small" / "one.bin", images[:16], labels[:16])
    write_cifar(folder / "small" / "two.bin", images[16:32], labels[16:32])
    write_cifar(folder / "small" / "test.bin", images[32:], labels[32:])
    train, test = {"one.bin": 16, "two.bin": 16}, {"test.bin": 8}
    data = cifar_data("small", "small", train, test, label_bytes=1, classes=4, validation=8)
    assert (data.meta["classes"], data.meta["shape"]) == (4, (3, 32, 32))
    assert [len(split) for split in (data.train, data.validation, data.test)] == [24, 8, 8]
    torch.testing.assert_close(data.test.tensors[0], torch.tensor(images[32:] / 255, dtype=torch.float32))
    assert data.test.tensors[1].tolist() == labels[32:].tolist()
    assert_partition(data, images[:32], labels[:32])
    assert data.validation.tensors[1].bincount().tolist() == [2, 2, 2, 2]


def test_images_for_generation_are_scaled_and_training_images_are_mirrored_too(folder):
    images, labels = bytes_array(24, 3, 32, 32), np.tile(np.arange(4, dtype=np.uint8), 6)
    write_cifar(folder / "small" / "one.bin", images[:16], labels[:16])
    write_cifar(folder / "small" / "test.bin", images[16:], labels[16:])
    plain = cifar_data("small", "small", {"one.bin": 16}, {"test.bin": 8}, label_bytes=1, classes=4, validation=4)
    data = for_generation("small_images", plain)
    assert (data.name, data.meta) == ("small_images", plain.meta)
    (x, y), (before, labels_before) = data.train.tensors, plain.train.tensors
    assert torch.equal(x[:12], 2 * before - 1)
    assert torch.equal(x[12:], (2 * before - 1).flip(3))
    assert torch.equal(y, torch.cat([labels_before, labels_before]))
    for split in ("validation", "test"):
        assert torch.equal(getattr(data, split).tensors[0], 2 * getattr(plain, split).tensors[0] - 1)
        assert torch.equal(getattr(data, split).tensors[1], getattr(plain, split).tensors[1])


def write_svhn(path, images, labels):
    """A file of SVHN's format 2: pixels first, images last; labels from 1 to 10, where 10 is the digit 0."""
    path.parent.mkdir(exist_ok=True)
    labels = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": labels})


def test_house_numbers_are_read_as_they_were_written(folder, monkeypatch):
    images, labels = bytes_array(60, 3, 32, 32), np.tile(np.arange(10, dtype=np.uint8), 6)
    write_svhn(folder / "svhn" / "train_32x32.mat", images[:40], labels[:40])
    write_svhn(folder / "svhn" / "test_32x32.mat", images[40:], labels[40:])
    for name, value in {"TRAIN": 40, "TEST": 20, "VALIDATION": 10}.items():
        monkeypatch.setattr(house_numbers, name, value)
    data = svhn()
    assert data.meta == {"classes": 10, "shape": (3, 32, 32)}
    assert [len(split) for split in (data.train, data.validation, data.test)] == [30, 10, 20]
    torch.testing.assert_close(data.test.tensors[0], torch.tensor(images[40:] / 255, dtype=torch.float32))
    assert data.test.tensors[1].tolist() == labels[40:].tolist()
    assert_partition(data, images[:40], labels[:40])


def test_damaged_files_of_house_numbers_are_refused(tmp_path):
    path = tmp_path / "x.mat"
    write_svhn(path, bytes_array(6, 3, 32, 32), np.arange(6))
    with pytest.raises(DataError, match=r"holds images \(32, 32, 3, 6\) of uint8 .* not 7 images"):
        read_svhn(path, 7)
    savemat(path, {"X": bytes_array(32, 32, 3, 2), "y": np.array([[1], [11]], np.uint8)})
    with pytest.raises(DataError, match="labels from 1 to 11, but they go from 1 to 10"):
        read_svhn(path, 2)
    savemat(path, {"X": bytes_array(32, 32, 3, 2)})
    with pytest.raises(DataError, match="is damaged, copy it again"):
        read_svhn(path, 2)
    for content in (b"", b"MATLAB 5.0 MAT-file, cut"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="is damaged, copy it again"):
            read_svhn(path, 2)


def write_stl10(folder, part, images, labels):
    """Files of STL-10's binary version: planes column by column, as MATLAB writes them; labels from 1 to 10."""
    folder.mkdir(exist_ok=True)
    planes = (np.asfortranarray(plane).tobytes(order="F") for image in images for plane in image)
    (folder / f"{part}_X.bin").write_bytes(b"".join(planes))
    (folder / f"{part}_y.bin").write_bytes(bytes(int(label) + 1 for label in labels))


def test_objects_are_read_as_they_were_written(folder, monkeypatch):
    images, labels = bytes_array(60, 3, 96, 96), np.tile(np.arange(10, dtype=np.uint8), 6)
    write_stl10(folder / "stl10_binary", "train", images[:40], labels[:40])
    write_stl10(folder / "stl10_binary", "test", images[40:], labels[40:])
    for name, value in {"TRAIN": 40, "TEST": 20, "VALIDATION": 10}.items():
        monkeypatch.setattr(objects, name, value)
    data = stl10()
    assert data.meta == {"classes": 10, "shape": (3, 96, 96)}
    torch.testing.assert_close(data.test.tensors[0], torch.tensor(images[40:] / 255, dtype=torch.float32))
    assert data.test.tensors[1].tolist() == labels[40:].tolist()
    assert_partition(data, images[:40], labels[:40])


def test_damaged_files_of_objects_are_refused(tmp_path):
    write_stl10(tmp_path, "x", bytes_array(2, 3, 96, 96), [0, 10])
    files = tmp_path / "x_X.bin", tmp_path / "x_y.bin"
    with pytest.raises(DataError, match=r"x_y\.bin holds labels from 1 to 11, but they go from 1 to 10"):
        read_stl10(*files, 2)
    with pytest.raises(DataError, match=r"x_X\.bin is damaged, copy it again: 55296 bytes in place of 3 times 27648"):
        read_stl10(*files, 3)


def test_mnist_is_shrunken_to_twelve_pixels(folder, monkeypatch):
    shapes = ((40, 28, 28), (40,), (20, 28, 28), (20,))
    monkeypatch.setattr(idx_files, "SHAPES", shapes)
    monkeypatch.setattr(mnist, "VALIDATION", 10)
    images, labels = bytes_array(60, 28, 28), np.tile(np.arange(10, dtype=np.uint8), 6)
    (folder / "mnist").mkdir()
    for prefix, part in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        write_idx(folder / "mnist" / f"{prefix}-images-idx3-ubyte.gz", images[part])
        write_idx(folder / "mnist" / f"{prefix}-labels-idx1-ubyte.gz", labels[part])
    data = mnist_12()
    assert data.meta == {"classes": 10, "shape": (1, 12, 12)}
    assert [len(split) for split in (data.train, data.validation, data.test)] == [30, 10, 20]
    assert data.test.tensors[1].tolist() == labels[40:].tolist()
    assert_partition(data, shrunken(images[:40]), labels[:40])


def test_shrinking_keeps_a_grey_image_and_where_its_ink_is():
    grey = np.full((1, 28, 28), 77, np.uint8)
    assert (shrunken(grey) == 77).all()
    halves = np.zeros((1, 28, 28), np.uint8)
    halves[:, :, :14] = 255
    small = shrunken(halves)[0, 0]
    assert (small[:, :5] > 250).all()
    assert (small[:, 7:] < 5).all()


def assert_partition(data, images, labels):
    """Every training image is in just one of train and validation, with its own label."""
    label_of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    found = {}
    for split in (data.train, data.validation):
        for image, label in zip(*split.tensors, strict=True):
            found[(image * 255).round().to(torch.uint8).numpy().tobytes()] = label.item()
    assert found == label_of


def test_labels_beyond_the_classes_are_refused():
    images = bytes_array(8, 3, 32, 32)
    right, wrong = np.tile(np.arange(2, dtype=np.uint8), 4), np.full(8, 9, dtype=np.uint8)
    with pytest.raises(DataError, match="label 9, but labels go from 0 to 1"):
        image_data("small", (images, right), (images, wrong), validation=2, classes=2)


@pytest.mark.parametrize(
    ("read", "place"),
    [
        (fashion_mnist, "fashion_mnist/train-images-idx3-ubyte.gz"),
        (cifar10, "cifar-10-batches-bin/data_batch_1.bin"),
        (cifar100, "cifar-100-binary/train.bin"),
        (svhn, "svhn/train_32x32.mat"),
        (stl10, "stl10_binary/train_X.bin"),
        (mnist_12, "mnist/train-images-idx3-ubyte.gz"),
    ],
)
def test_missing_files_are_named_with_their_place(monkeypatch, tmp_path, read, place):
    monkeypatch.delenv("REGBENCH_DATA", raising=False)
    with pytest.raises(DataError, match=f"set REGBENCH_DATA to a folder that holds {place}"):
        read()
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    subfolder, name = place.split("/")
    with pytest.raises(DataError, match=f"put {name} into {tmp_path / subfolder}"):
        read()


@pytest.mark.parametrize(
    ("read", "subfolder", "names", "row", "images"),
    [
        (cifar10, "cifar-10-batches-bin", [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"], 3073, 10_000),
        (cifar100, "cifar-100-binary", ["train.bin", "test.bin"], 3074, 50_000),
    ],
)
def test_a_file_with_too_few_images_is_refused(folder, read, subfolder, names, row, images):
    for name in names:
        (folder / subfolder).mkdir(exist_ok=True)
        (folder / subfolder / name).write_bytes(bytes(2 * row))
    with pytest.raises(DataError, match=f"{names[0]} is damaged.*in place of {images} images of {row} bytes"):
        read()


@pytest.mark.skipif(not FASHION.is_file(), reason="REGBENCH_DATA has no fashion_mnist")
def test_fashion_mnist():
    data = load("fashion_mnist")
    splits = {"train": 55_000, "validation": 5_000, "test": 10_000}
    for name, size in splits.items():
        x, y = getattr(data, name).tensors
        assert x.shape == (size, 1, 28, 28)
        assert (x.dtype, x.min().item(), x.max().item()) == (torch.float32, 0, 1)
        assert y.bincount().tolist() == [size // 10] * 10  # the set is balanced, and so is each split of it
    assert data.meta == {"classes": 10, "shape": (1, 28, 28)}
    # Published mean and standard deviation of the 60,000 training images.
    pixels = torch.cat([data.train.tensors[0], data.validation.tensors[0]])
    assert pixels.mean().item() == pytest.approx(0.2860, abs=1e-4)
    assert pixels.std().item() == pytest.approx(0.3530, abs=1e-4)
