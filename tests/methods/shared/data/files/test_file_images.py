"""Folders and arrays of images become tensors in [0, 1]; one that cannot be read among good ones is named."""

import shutil

import numpy as np
import pytest
import torch
from making import SPLITS, digit_folder, refusal, sizes, spec_of
from PIL import Image
from sklearn.datasets import load_digits

from regbench.methods.shared.data.files.image_files import decode
from regbench.methods.shared.data.files.reading import read, require_track


def test_a_folder_of_classes_is_split_and_holds_what_was_drawn(tmp_path):
    digit_folder(tmp_path / "digits", slice(0, 200))
    spec = spec_of(tmp_path, images="digits")
    data = read("digits", spec)
    assert sizes(data) == [120, 40, 40]
    assert spec.splits
    assert data.pool == 200
    assert data.meta["classes"] == 10
    assert data.meta["class_names"] == tuple(f"digit {label}" for label in range(10))
    assert data.meta["shape"] == (1, 8, 8)
    images, labels = load_digits(return_X_y=True)
    drawn = {(tuple(image * 15), label) for image, label in zip(images[:200].astype(int), labels, strict=False)}
    found = {
        (tuple((image * 255).round().int().flatten().tolist()), int(label))
        for split in SPLITS
        for image, label in zip(*getattr(data, split).tensors, strict=True)
    }
    assert found == drawn
    require_track(data, "classification")


def test_folders_of_splits_are_the_splits(tmp_path):
    for name, rows in (("train", slice(0, 100)), ("val", slice(100, 150)), ("test", slice(150, 200))):
        digit_folder(tmp_path / "digits" / name, rows, colour=True)
    spec = spec_of(tmp_path, images="digits")
    data = read("digits", spec)
    assert sizes(data) == [100, 50, 50]
    assert data.meta["shape"] == (3, 8, 8)
    assert not spec.splits
    shutil.rmtree(tmp_path / "digits" / "val")
    assert sizes(read("digits", spec)) == [80, 20, 50]
    shutil.rmtree(tmp_path / "digits" / "test")
    assert "none called test" in refusal(tmp_path, images="digits")


def test_arrays_of_images_are_the_same_in_every_order_of_their_axes(tmp_path):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (40, 3, 6, 5), dtype=np.uint8)
    y = np.arange(40) % 2
    np.savez(tmp_path / "first.npz", x=images, y=y)
    np.savez(tmp_path / "last.npz", x=images.transpose(0, 2, 3, 1), y=y)
    np.savez(tmp_path / "real.npz", x=images / np.float32(255), y=y)
    first, last, real = (
        read("x", spec_of(tmp_path, npz=f"{name}.npz", target="y")).train.tensors[0] for name in ("first", "last", "real")
    )
    assert torch.equal(first, last)
    torch.testing.assert_close(first, real)
    assert tuple(first.shape[1:]) == (3, 6, 5)
    assert first.max() <= 1
    np.savez(tmp_path / "grey.npz", x=images[:, 0], y=y)
    assert read("x", spec_of(tmp_path, npz="grey.npz", target="y")).meta["shape"] == (1, 6, 5)


def test_images_of_different_sizes_are_refused_or_resized(tmp_path):
    digit_folder(tmp_path / "digits", slice(0, 60))
    Image.new("L", (5, 9)).save(tmp_path / "digits" / "digit 4" / "wide.png")
    said = refusal(tmp_path, images="digits")
    assert said.startswith("digit 4/wide.png is 9 x 5 pixels")
    assert "`size: [8, 8]`" in said
    data = read("digits", spec_of(tmp_path, images="digits", size=[4, 6]))
    assert data.meta["shape"] == (1, 4, 6)


def test_a_resized_image_is_the_mean_of_its_parts(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    small = decode(tmp_path / "a.png", "a.png", (1, 1))
    assert small.item() == pytest.approx(pixels.mean(), abs=1)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, [255]),
        ("L", 77, [77]),
        ("LA", (77, 10), [77]),
        ("P", 3, [3, 3, 3]),
        ("RGB", (1, 2, 3), [1, 2, 3]),
        ("RGBA", (1, 2, 3, 9), [1, 2, 3]),
        ("I;16", 0x4D4D, [0x4D]),
    ],
)
def test_every_kind_of_png_becomes_grey_or_rgb_bytes(tmp_path, mode, value, expected):
    image = Image.new(mode, (2, 3), value)
    if mode == "P":
        image.putpalette([level for level in range(256) for _ in range(3)])
    image.save(tmp_path / "a.png")
    found = decode(tmp_path / "a.png", "a.png", None)
    assert found.shape == (3, 2, len(expected))
    assert (found == expected).all()


def test_grey_images_among_coloured_ones_are_repeated(tmp_path):
    digit_folder(tmp_path / "digits", slice(0, 60), colour=True)
    Image.new("L", (8, 8), 51).save(tmp_path / "digits" / "digit 0" / "grey.png")
    data = read("digits", spec_of(tmp_path, images="digits"))
    every = torch.cat([getattr(data, split).tensors[0] for split in SPLITS])
    torch.testing.assert_close(every[(every == 0.2).flatten(1).all(1)], torch.full((1, 3, 8, 8), 0.2))


def test_what_is_wrong_with_a_folder_is_said_with_the_file(tmp_path):
    assert "there is no folder" in refusal(tmp_path, images="digits")
    folder = tmp_path / "digits"
    folder.mkdir()
    Image.new("L", (8, 8)).save(folder / "0.png")
    assert "has no folders of classes" in refusal(tmp_path, images="digits")
    digit_folder(folder, slice(0, 60))
    (folder / ".hidden").mkdir()
    (folder / "digit 1" / "notes.txt").write_text("not an image")
    assert read("digits", spec_of(tmp_path, images="digits")).meta["classes"] == 10
    (folder / "digit 10").mkdir()
    assert "digit 10 holds no image" in refusal(tmp_path, images="digits")
    (folder / "digit 10").rmdir()
    good = next((folder / "digit 2").iterdir())
    for name, content in (("bad.png", b"no image"), ("bad.png", good.read_bytes()[:70]), ("bad.jpg", b"")):
        (folder / "digit 5" / name).write_bytes(content)
        assert refusal(tmp_path, images="digits").startswith(f"digit 5/{name} is no image that can be read")
        (folder / "digit 5" / name).unlink()
    for path in folder.iterdir():
        if path.is_dir() and path.name not in ("digit 3",):
            shutil.rmtree(path)
    assert "target 'class' of digits has the single class 'digit 3'" in refusal(tmp_path, images="digits")


def test_a_class_in_the_test_folder_alone_is_refused_with_a_file(tmp_path):
    digit_folder(tmp_path / "digits" / "train", slice(0, 60))
    digit_folder(tmp_path / "digits" / "test", slice(60, 90))
    (tmp_path / "digits" / "test" / "letter").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "digits" / "test" / "letter" / "a.png")
    said = refusal(tmp_path, images="digits")
    assert said.startswith("class 'letter' is in the test split")
    assert "letter/a.png" in said
