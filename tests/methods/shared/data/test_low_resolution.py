from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from regbench.methods.errors import DataError
from regbench.methods.shared.data import data_root, div2k, load
from regbench.methods.shared.data import low_resolution as pairs
from regbench.methods.shared.data.photographs import PHOTOGRAPHS, dealt, photographs

RANDOM = np.random.default_rng(0)
has_set5 = pytest.mark.skipif(data_root() is None or not (data_root() / "image_restoration").is_dir(), reason="no Set5")


def picture(height, width):
    """A smooth random picture ``[height, width, 3]``, bytes."""
    small = Image.fromarray(RANDOM.integers(256, size=(7, 9, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def shrunk_by_pillow(high, scale):
    """An independent bicubic shrinking of ``[3, H, W]``, in real numbers, since for bytes Pillow also rounds half way."""
    planes = [Image.fromarray(plane.numpy().astype(np.float32)) for plane in high]
    size = (planes[0].width // scale, planes[0].height // scale)
    return torch.tensor(np.stack([np.asarray(plane.resize(size, Image.Resampling.BICUBIC)) for plane in planes]))


def test_photographs_are_ten_colour_squares():
    names = [name for part in PHOTOGRAPHS.values() for name in part]
    found = photographs(32)
    assert len(set(names)) == len(names) == 10
    assert found.shape == (10, 3, 32, 32)
    # Block means are another way to shrink: 4 x 4 blocks of ours cover 64 x 64 blocks of a photograph of 512 x 512.
    astronaut = skimage.data.astronaut().reshape(8, 64, 8, 64, 3).mean((1, 3)).transpose(2, 0, 1)
    ours = found[0].double().numpy().reshape(3, 8, 4, 8, 4).mean((2, 4))
    assert np.corrcoef(ours.ravel(), astronaut.ravel())[0, 1] > 0.999


def test_pictures_are_dealt_whole_and_once():
    counts = {"train": 3, "validation": 1, "test": 2}
    assert dealt(range(6), counts, 0) == {"train": [0, 1, 2], "validation": [3], "test": [4, 5]}
    other = dealt(range(6), counts, 1)
    assert sorted(place for places in other.values() for place in places) == list(range(6))
    assert other != dealt(range(6), counts, 0)


@pytest.mark.parametrize("name", ["photographs_x2", "photographs_x4"])
def test_low_resolution_is_bicubic(name):
    data = load(name)
    for part in (data.train, data.test):
        low, high, size = part[0]
        assert (high.shape[1], high.shape[2]) == tuple(size) == tuple(data.meta["scale"] * side for side in low.shape[1:])
        expected = shrunk_by_pillow(high, data.meta["scale"]).clamp(0, 255)
        assert (low.float() - expected).abs().max() <= 0.5 + 1e-3


def test_patches_are_cut_on_a_grid_and_follow_one_another_by_image():
    image = torch.arange(3 * 8 * 6).reshape(3, 8, 6)
    found = pairs.patches(image, 4, 2)
    assert found.shape == (6, 3, 4, 4)
    assert torch.equal(found[1], image[:, 0:4, 2:6])
    assert torch.equal(found[5], image[:, 4:8, 2:6])


def test_images_of_several_sizes_are_filled_up():
    images = [pairs.as_bytes(picture(*size) / 255) for size in ((17, 24), (32, 9))]
    data = pairs.paired("mine", 2, 4, 4, images, images, images)
    low, high, size = data.validation.tensors
    assert size.tolist() == [[16, 24], [32, 8]]
    assert high.shape == (2, 3, 32, 24)
    assert low.shape == (2, 3, 16, 12)
    assert torch.equal(high[0, :, :16, :24], images[0][:, :16, :24])
    assert not high[0, :, 16:].any()
    assert torch.equal(low[1, :, :, :4], pairs.shrunk(images[1][None, :, :32, :8], 2)[0])


@has_set5
def test_div2k_is_judged_on_set5_too(tmp_path, monkeypatch):
    tested = load("kodak_set5_x4").test
    (tmp_path / "image_restoration").symlink_to(data_root() / "image_restoration")
    write_div2k(tmp_path, monkeypatch)
    found = pairs.div2k_set5_x4().test
    assert all(torch.equal(*tensors) for tensors in zip(found.tensors, tested.tensors, strict=True))


@has_set5
def test_set5_is_judged_on():
    data = load("kodak_set5_x4")
    assert data.test.tensors[2].tolist() == [[512, 512], [288, 288], [256, 256], [280, 280], [344, 228]]
    assert len(data.train) == 20 * (768 // 128) * (512 // 128)


def write_div2k(root: Path, monkeypatch):
    """A few small pictures where DIV2K has its own, with their names."""
    monkeypatch.setattr(div2k, "TRAINING", range(1, 4))
    monkeypatch.setattr(div2k, "VALIDATION", range(801, 803))
    monkeypatch.setenv("REGBENCH_DATA", str(root))
    for name in (
        "DIV2K_train_HR/0001",
        "DIV2K_train_HR/0002",
        "DIV2K_train_HR/0003",
        "DIV2K_valid_HR/0801",
        "DIV2K_valid_HR/0802",
    ):
        path = root / "DIV2K" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(230, 404)).save(path)


def test_div2k_is_read_as_it_is_published(tmp_path, monkeypatch):
    write_div2k(tmp_path, monkeypatch)
    with pytest.raises(DataError, match="set14"):
        pairs.div2k_set14_x4()
    folder = tmp_path / "image_restoration" / "set14"
    folder.mkdir(parents=True)
    Image.fromarray(picture(50, 61)).save(folder / "baboon.png")
    Image.fromarray(picture(40, 44)[..., 0]).save(folder / "bridge.png")  # one of Set14 is grey
    data = pairs.div2k_set14_x4()
    assert [tuple(part.shape) for part in data.train.tensors] == [(6, 3, 50, 50), (6, 3, 200, 200), (6, 2)]
    assert data.validation.tensors[2].tolist() == [[228, 404]] * 2
    assert data.test.tensors[2].tolist() == [[48, 60], [40, 44]]
    grey = data.test.tensors[1][1, :, :40, :44]
    assert torch.equal(grey[0], grey[2])
    (tmp_path / "DIV2K" / "DIV2K_train_HR" / "0002.png").unlink()
    with pytest.raises(DataError, match="0002"):
        pairs.div2k_set14_x4()
