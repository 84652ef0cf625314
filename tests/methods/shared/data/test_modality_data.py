import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from regbench.methods.errors import DataError
from regbench.methods.shared.data import load
from regbench.methods.shared.data.digit_modalities import edges
from regbench.methods.shared.data.medmnist import CLASSES, medmnist_radiology, read_npz

RANDOM = np.random.default_rng(0)


def test_edges_are_half_the_absolute_differences():
    x = torch.rand(5, 1, 8, 8)
    padded = np.pad(x, [(0, 0), (0, 0), (0, 1), (0, 1)], mode="edge")
    taps = [0.0, -1.0, 1.0]
    expected = sum(np.abs(correlate1d(padded, taps, axis=axis)) for axis in (2, 3))[..., :-1, :-1] / 2
    np.testing.assert_allclose(edges(x), expected, atol=1e-6)


def test_every_image_is_its_digit_in_one_of_three_modalities():
    data, plain = load("digit_modalities"), load("digits")
    pixels = data.train.tensors[0].double()
    assert pixels.mean().item() == pytest.approx(0, abs=1e-6)
    assert pixels.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    assert data.meta == {"classes": 30, "shape": (1, 8, 8)}
    # One shift and scale for all images: the line through the pixels of those that are shown as they are.
    raw = data.train.tensors[1] < 10
    scale, shift = np.polyfit(pixels[raw].flatten(), plain.train.tensors[0][raw].flatten(), 1)
    for split in ("train", "validation", "test"):
        (shown, labels), (x, digits) = getattr(data, split).tensors, getattr(plain, split).tensors
        assert torch.equal(labels % 10, digits)
        for modality, view in enumerate((x, 1 - x, edges(x))):
            chosen = labels // 10 == modality
            assert 0.25 < chosen.double().mean().item() < 0.42
            torch.testing.assert_close(shown[chosen] * scale + shift, view[chosen], rtol=0, atol=1e-5)


def write(path, *, sizes=(6, 3, 4), classes=2, **changes):
    """A file in MedMNIST's format, with random images and labels."""
    arrays = {}
    for prefix, size in zip(("train", "val", "test"), sizes, strict=True):
        arrays[f"{prefix}_images"] = RANDOM.integers(256, size=(size, 28, 28), dtype=np.uint8)
        arrays[f"{prefix}_labels"] = (np.arange(size) % classes).astype(np.uint8)[:, None]
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **arrays | changes)
    return arrays


def test_six_sets_become_one(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    written = {name: write(tmp_path / "medmnist" / f"{name}.npz", classes=count) for name, count in CLASSES.items()}
    data = medmnist_radiology()
    assert data.meta == {"classes": 41, "shape": (1, 28, 28)}
    training = np.concatenate([arrays["train_images"] for arrays in written.values()]).astype(float)
    for split, prefix in (("train", "train"), ("validation", "val"), ("test", "test")):
        x, y = getattr(data, split).tensors
        images = np.concatenate([arrays[f"{prefix}_images"] for arrays in written.values()])
        np.testing.assert_allclose(x[:, 0], (images - training.mean()) / training.std(), atol=1e-5)
        before = {"breastmnist": 0, "octmnist": 2, "organamnist": 6, "organcmnist": 17, "organsmnist": 28, "pneumoniamnist": 39}
        labels = [arrays[f"{prefix}_labels"][:, 0] + before[name] for name, arrays in written.items()]
        assert y.tolist() == np.concatenate(labels).tolist()


def test_missing_files_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    write(tmp_path / "medmnist" / "breastmnist.npz")
    with pytest.raises(DataError, match=r"put octmnist\.npz into"):
        medmnist_radiology()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": np.zeros((6, 28, 28, 3), np.uint8)}, r"images \(6, 28, 28, 3\)"),
        ({"train_images": np.zeros((6, 28, 28))}, "holds images"),
        ({"train_labels": np.zeros((6, 14), np.uint8)}, r"labels \(6, 14\)"),
        ({"train_labels": np.full((6, 1), 2, np.uint8)}, "labels from 2 to 2, but they go from 0 to 1"),
        ({"train_images": np.array([None])}, "is damaged"),
    ],
)
def test_other_arrays_are_refused(tmp_path, changes, message):
    write(tmp_path / "x.npz", **changes)
    with pytest.raises(DataError, match=message):
        read_npz(tmp_path / "x.npz", "train", 2)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no archive"])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match="is damaged, copy it again"):
        read_npz(tmp_path / "x.npz", "train", 2)


def test_a_file_without_the_split_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", train_images=np.zeros((1, 28, 28), np.uint8))
    with pytest.raises(DataError, match="is damaged, copy it again"):
        read_npz(tmp_path / "x.npz", "val", 2)
