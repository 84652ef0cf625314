"""Images with known sources, and pairs of tiles that share factors."""

import colorsys
import math
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from skimage.io import imsave

from regbench.methods.errors import DataError
from regbench.methods.shared.data import load
from regbench.methods.shared.data.dsprites import PUBLISHED, dsprites
from regbench.methods.shared.data.mpi3d import mpi3d, mpi3d_data
from regbench.methods.shared.data.multi_omniglot import omniglot_pairs, read_omniglot
from regbench.methods.shared.data.paired_tiles import Alphabet, arranged, digit_pairs, paired_tiles
from regbench.methods.shared.data.scenes import SOURCES, hues, outline, render
from regbench.methods.shared.images import unit

SHARED = Path(os.environ.get("REGBENCH_DATA", ""))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    return tmp_path


# Scenes


def test_scenes_are_all_combinations_once():
    data = load("scenes")
    values = torch.cat([split.tensors[1] for split in (data.train, data.validation, data.test)])
    assert len(values) == math.prod(SOURCES.values()) == 6144
    assert len(values.unique(dim=0)) == 6144
    assert (len(data.validation), len(data.test)) == (1000, 1000)
    assert data.meta["shape"] == data.train.tensors[0].shape[1:]


def test_no_two_scenes_look_alike():
    images = torch.cat([split.tensors[0] for split in (load("scenes").train, load("scenes").validation, load("scenes").test)])
    assert len(images.flatten(1).unique(dim=0)) == 6144
    assert images.min() >= 0
    assert images.max() <= 1


def test_sources_are_where_they_are_seen():
    image = render(torch.tensor([[0, 2, 4, 3, 1]]), SOURCES)[0]
    colours = hues(torch.tensor([0, 2, 4]), 8)
    torch.testing.assert_close(image[:, 15, 0], colours[0])
    torch.testing.assert_close(image[:, 0, 0], colours[1])
    torch.testing.assert_close(image[:, 8, 8], 0.6 * colours[2])


def test_hues_are_pure_colours():
    expected = [colorsys.hsv_to_rgb(place / 12, 1, 1) for place in range(12)]
    torch.testing.assert_close(hues(torch.arange(12), 12), torch.tensor(expected), atol=1e-6, rtol=0)


def test_objects_grow_and_have_their_areas():
    areas = torch.tensor([[outline(shape, size, 4).sum() for size in range(4)] for shape in range(3)])
    assert (areas.diff(dim=1) > 0).all()
    radius = 5.5
    expected = torch.tensor([(1.7 * radius) ** 2, math.pi * radius**2, 2 * radius**2])
    torch.testing.assert_close(areas[:, 3], expected, rtol=0.04, atol=0)


# dSprites and MPI3D


def sprites(rows=40, columns=6):
    random = np.random.default_rng(0)
    return {
        "imgs": random.integers(0, 2, (rows, 64, 64), dtype=np.uint8),
        "latents_classes": random.integers(0, 3, (rows, columns), dtype=np.int64),
    }


@pytest.mark.parametrize(("name", "columns"), [(PUBLISHED, 6), ("dsprites_grid.npz", 5)])
def test_dsprites_is_read_as_published_and_in_part(folder, name, columns):
    (folder / "dsprites").mkdir()
    arrays = sprites(columns=columns)
    np.savez(folder / "dsprites" / name, **arrays)
    data = dsprites()
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 8, 8)
    images = np.concatenate([split.tensors[0].numpy()[:, 0] for split in (data.train, data.validation, data.test)])
    values = np.concatenate([split.tensors[1].numpy() for split in (data.train, data.validation, data.test)])
    places = [np.flatnonzero((arrays["imgs"] == image // 255).all((1, 2)))[0] for image in images]
    assert sorted(places) == list(range(40))
    assert (values == arrays["latents_classes"][places][:, -5:]).all()
    assert unit(data.train.tensors[0]).unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"imgs": np.zeros((40, 32, 32), np.uint8)},
        {"latents_classes": np.zeros((40, 2))},
        {"imgs": np.full((40, 64, 64), 255, np.uint8)},
    ],
)
def test_other_arrays_are_refused(folder, change):
    (folder / "dsprites").mkdir()
    np.savez(folder / "dsprites" / PUBLISHED, **(sprites() | change))
    with pytest.raises(DataError, match="holds"):
        dsprites()


def test_what_is_no_archive_is_named(folder):
    (folder / "dsprites").mkdir()
    (folder / "dsprites" / PUBLISHED).write_bytes(b"no archive")
    with pytest.raises(DataError, match="is damaged, copy it again"):
        dsprites()


@pytest.mark.skipif(not (SHARED / "dsprites").is_dir(), reason="needs dSprites")
def test_the_real_sprites_are_there():
    data = load("dsprites")
    images, values = data.train.tensors
    assert images.shape[1:] == (1, 64, 64)
    assert values.amax(0)[0] == 2
    # The larger the scale, the more of the image is white.
    area = unit(images[:2000]).mean((1, 2, 3))
    means = torch.stack([area[values[:2000, 1] == scale].mean() for scale in range(6)])
    assert (means.diff() > 0).all()


def test_mpi3d_has_its_sources_in_order(folder):
    (folder / "mpi3d").mkdir()
    counts = {"object_color": 2, "object_shape": 3, "horizontal_axis": 4}
    images = np.arange(24, dtype=np.uint8)[:, None, None, None].repeat(64, 1).repeat(64, 2).repeat(3, 3)
    np.savez(folder / "mpi3d" / "mpi3d_toy.npz", images=images)
    data = mpi3d_data(counts)
    for split in (data.train, data.validation, data.test):
        x, values = split.tensors
        assert x.shape[1:] == (3, 64, 64)
        assert (x[:, 0, 0, 0].long() == values @ torch.tensor([12, 4, 1])).all()
    again = mpi3d_data(counts, split=1)
    assert not torch.equal(again.test.tensors[1], data.test.tensors[1])
    assert (again.pool, len(again.test)) == (24, len(data.test))
    with pytest.raises(DataError, match="not uint8"):
        mpi3d()


# Paired tiles


def test_the_second_view_shows_the_characters_that_follow():
    alphabets = [
        Alphabet(torch.arange(10 * size).view(-1, 1, 1).float() + 100 * size, torch.arange(10 * size) % size)
        for size in (3, 5, 2, 7)
    ]
    pairs = paired_tiles(alphabets, 500, "stacked", np.random.default_rng(0))
    x, y, z = pairs.tensors
    for place, size in enumerate((3, 5, 2, 7)):
        assert torch.equal(x[:, place, 0, 0].long() % (100 * size) % size, z[:, place])
        assert torch.equal(y[:, place, 0, 0].long() % (100 * size) % size, (z[:, place] + 1) % size)
        assert (z[:, place].bincount() / 500 - 1 / size).abs().max() < 0.08
        # Drawings are drawn uniformly, and anew for each view.
        assert len(x[:, place].unique()) == 10 * size
        assert not torch.equal(x[:, place] + 1, y[:, place])


def test_tiles_lie_row_by_row():
    tiles = torch.arange(4.0).view(1, 4, 1, 1).expand(1, 4, 2, 3)
    image = arranged(tiles, "spatial")
    assert image.shape == (1, 1, 4, 6)
    assert image[0, 0, ::2, ::3].tolist() == [[0, 1], [2, 3]]
    assert arranged(tiles, "stacked") is tiles


def test_digits_of_one_split_are_in_no_other():
    data = digit_pairs("pairs", 1, "spatial")
    seen = [set(map(bytes, split.tensors[0].numpy())) for split in (data.train, data.validation, data.test)]
    assert not seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2]
    assert data.meta["information"] == pytest.approx(math.log(10))


def test_omniglot_is_read_from_its_archives_and_from_a_table(folder):
    random = np.random.default_rng(0)
    rows = []
    for archive, alphabet, characters in (
        ("images_background", "B", 3),
        ("images_evaluation", "A", 2),
        ("images_background", "C", 1),
    ):
        for character in range(characters):
            path = folder / "omniglot" / archive / alphabet / f"character{character + 1:02}"
            path.mkdir(parents=True)
            for drawer in range(4):
                ink = random.random((105, 105)) < 0.1 * (character + 1)
                imsave(path / f"0001_{drawer + 1:02}.png", np.where(ink, 0, 255).astype(np.uint8), check_contrast=False)
                rows.append((alphabet, character + 1, np.packbits(ink).tobytes()))
    from_archives = read_omniglot()
    assert [(name, alphabet.size) for name, alphabet in from_archives] == [("B", 3), ("A", 2), ("C", 1)]
    data = omniglot_pairs("pairs", 1, "spatial", {"train": 30, "validation": 5, "test": 5})
    assert data.train.tensors[0].shape == (30, 1, 28, 28)
    assert data.meta["classes"] == (3,)
    with pytest.raises(DataError, match="needs 4 alphabets"):
        omniglot_pairs("pairs", 4, "spatial")
    (folder / "omniglot" / "images_background").rename(folder / "away")
    columns = dict(zip(("alphabet", "character", "image_bits"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "omniglot" / "omniglot.parquet")
    for (name, one), (other, two) in zip(from_archives, read_omniglot(), strict=True):
        assert name == other
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.characters, two.characters)


@pytest.mark.skipif(not (SHARED / "omniglot").is_dir(), reason="needs Omniglot")
def test_the_real_characters_are_there():
    alphabets = read_omniglot()
    assert len(alphabets) == 50
    assert (alphabets[0][0], alphabets[0][1].size) == ("Tifinagh", 55)
    data = omniglot_pairs("pairs", 4, "spatial", {"train": 20, "validation": 5, "test": 5})
    assert data.train.tensors[0].shape == (20, 1, 56, 56)
    assert data.meta["information"] == pytest.approx(sum(map(math.log, data.meta["classes"])))


def test_bytes_become_numbers_up_to_one():
    assert unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [0, 1]
    assert unit(torch.tensor([0.5])).tolist() == [0.5]
