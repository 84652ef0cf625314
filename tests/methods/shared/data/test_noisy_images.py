import shutil
from pathlib import Path

import numpy as np
import pytest
import skimage.color
import skimage.data
import torch
from skimage.io import imread, imsave

from regbench.methods.errors import DataError
from regbench.methods.shared.data import data_root, load
from regbench.methods.shared.data.kodak import kodak_data, square
from regbench.methods.shared.data.noisy_images import PHOTOGRAPHS, bsd_images

SPLITS = ("train", "validation", "test")
has_bsd = pytest.mark.skipif(data_root() is None or not (data_root() / "image_restoration").is_dir(), reason="no BSD images")


def check_noise(data):
    noise = [noisy - clean for noisy, clean in (getattr(data, split).tensors for split in SPLITS)]
    for part in noise:
        # Four standard deviations of both estimates.
        assert abs(part.mean().item()) < 4 * 0.1 / part.numel() ** 0.5
        assert part.std().item() == pytest.approx(0.1, rel=4 / (2 * part.numel()) ** 0.5)
    flat = [part.flatten()[: noise[0][0].numel()] for part in noise]
    assert torch.corrcoef(torch.stack(flat)).triu(1).abs().max() < 0.1


def test_photographs_are_twelve_and_are_in_one_split_each():
    names = [name for split in SPLITS for name in PHOTOGRAPHS[split]]
    assert len(set(names)) == len(names) == 12
    for split in SPLITS:
        noisy, clean = getattr(load("natural_images"), split).tensors
        assert noisy.shape == clean.shape == (4, *load("natural_images").meta["shape"]) == (4, 1, 48, 48)
        assert clean.min() >= 0
        assert clean.max() <= 1
        assert noisy.dtype == clean.dtype == torch.float32


def test_noise_is_gaussian_of_its_deviation_and_independent_between_splits():
    check_noise(load("natural_images"))


def test_images_are_the_middle_squares_shrunken():
    """Block means are another way to shrink: 3 x 3 blocks of ours cover 32 x 32 blocks of a photograph of 512 x 512."""
    photograph = skimage.data.camera().reshape(16, 32, 16, 32).mean((1, 3)) / 255
    ours = load("natural_images").train.tensors[1][0, 0].double().numpy().reshape(16, 3, 16, 3).mean((1, 3))
    assert np.corrcoef(photograph.ravel(), ours.ravel())[0, 1] > 0.99
    coffee = skimage.color.rgb2gray(skimage.data.coffee()[:, 100:500]).reshape(16, 25, 16, 25).mean((1, 3))
    ours = load("natural_images").validation.tensors[1][1, 0].double().numpy().reshape(16, 3, 16, 3).mean((1, 3))
    assert np.corrcoef(coffee.ravel(), ours.ravel())[0, 1] > 0.99


@has_bsd
def test_berkeleys_images_are_read_whole():
    data = load("bsd_images")
    shapes = {"train": (360, 1, 180, 180), "validation": (40, 1, 180, 180), "test": (68, 1, 321, 481)}
    for split, shape in shapes.items():
        noisy, clean = getattr(data, split).tensors
        assert noisy.shape == clean.shape == shape
    upright = imread(data_root() / "image_restoration" / "bsd68" / "test001.png") / 255.0
    np.testing.assert_allclose(data.test.tensors[1][0, 0], upright.T, atol=1e-6)
    check_noise(data)


@has_bsd
@pytest.mark.parametrize("damage", ["truncated", "resized", "missing"])
def test_damaged_files_are_named(damage, tmp_path, monkeypatch):
    folder = tmp_path / "image_restoration"
    shutil.copytree(data_root() / "image_restoration" / "train400", folder / "train400")
    shutil.copytree(data_root() / "image_restoration" / "bsd68", folder / "bsd68")
    for path in Path(folder).rglob("*"):
        path.chmod(0o755)
    victim = folder / "train400" / "test_002.png"
    if damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:100])
    elif damage == "resized":
        imsave(victim, imread(victim)[:100], check_contrast=False)
    else:
        victim.unlink()
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"test_002\.png"):
        bsd_images()


# Kodak's photographs

has_kodak = pytest.mark.skipif(
    data_root() is None or not (data_root() / "image_restoration" / "kodak24").is_dir(), reason="no Kodak images"
)


def test_kodaks_photographs_are_in_one_split_each(tmp_path, monkeypatch):
    folder = tmp_path / "image_restoration" / "kodak24"
    folder.mkdir(parents=True)
    for number in range(1, 25):
        shape = (24, 16, 3) if number % 2 else (16, 24, 3)
        imsave(folder / f"kodim{number:02d}.png", np.full(shape, 10 * number, np.uint8), check_contrast=False)
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    data = kodak_data("kodak_8", 8)
    assert data.meta == {"shape": (1, 8, 8)}
    clean = [getattr(data, split).tensors[1] for split in SPLITS]
    assert [part.shape for part in clean] == [(16, 1, 8, 8), (4, 1, 8, 8), (4, 1, 8, 8)]
    greys = torch.cat([part[:, 0, 0, 0] for part in clean]) * 255
    torch.testing.assert_close(greys, 10.0 * torch.arange(1, 25), atol=1e-3, rtol=0)
    assert all((noisy != clean).all() for noisy, clean in (getattr(data, split).tensors for split in SPLITS))


@has_kodak
@pytest.mark.parametrize(("name", "side"), [("kodak_96", 96), ("kodak_256", 256)])
def test_kodaks_photographs_are_grey_squares(name, side):
    data = load(name)
    for split, count in {"train": 16, "validation": 4, "test": 4}.items():
        noisy, clean = getattr(data, split).tensors
        assert noisy.shape == clean.shape == (count, 1, side, side)
    photograph = skimage.color.rgb2gray(imread(data_root() / "image_restoration" / "kodak24" / "kodim01.png"))[:, 128:640]
    ours = data.train.tensors[1][0, 0].double().numpy()
    blocks = [image.reshape(16, len(image) // 16, 16, len(image) // 16).mean((1, 3)) for image in (photograph, ours)]
    assert np.corrcoef(*(block.ravel() for block in blocks))[0, 1] > 0.99


@pytest.mark.parametrize(
    ("content", "message"), [(np.zeros((9, 9), np.uint8), r"\(9, 9\), not one of three colours"), (None, "damaged")]
)
def test_a_photograph_that_is_none_is_named(tmp_path, content, message):
    path = tmp_path / "kodim01.png"
    if content is None:
        path.write_bytes(b"\x89PNG cut")
    else:
        imsave(path, content, check_contrast=False)
    with pytest.raises(DataError, match=message):
        square(path, 8)
