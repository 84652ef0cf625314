"""Folders of images that are decoded while they are used hold what they would in memory, and train alike."""

import os
from itertools import chain

import numpy as np
import pytest
import torch
from making import SPLITS, digit_folder, refusal, spec_of
from PIL import Image
from pydantic import ValidationError
from rich.console import Console
from torch.utils.data import TensorDataset

from regbench.methods.errors import DataError
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data.files import images
from regbench.methods.shared.data.files.image_files import ImageFiles
from regbench.methods.shared.data.files.reading import read
from regbench.platform.data_page import data_page


def both(folder, **keys):
    """A folder in memory, and read while it is used."""
    return [read("digits", spec_of(folder, images="digits", in_memory=kept, **keys)) for kept in (True, False)]


def require_same(memory, files):
    assert memory.meta == files.meta
    assert memory.pool == files.pool
    runs = Run(memory), Run(files, readers=0)
    for split in SPLITS:
        assert isinstance(getattr(memory, split), TensorDataset)
        assert isinstance(getattr(files, split), ImageFiles)
        kept, found = (next(run.batches(getattr(run.data, split), 1000)) for run in runs)
        for one, other in zip(kept, found, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)


def test_pixels_classes_and_splits_are_those_in_memory(tmp_path):
    digit_folder(tmp_path / "digits", slice(0, 120), colour=True)
    Image.new("L", (8, 8), 51).save(tmp_path / "digits" / "digit 0" / "grey.png")
    Image.new("I;16", (8, 8), 0x4D4D).save(tmp_path / "digits" / "digit 1" / "deep.png")
    require_same(*both(tmp_path))
    require_same(*both(tmp_path, size=[4, 5]))


def test_grey_images_keep_one_channel_and_folders_of_splits_are_the_splits(tmp_path):
    for name, rows in (("train", slice(0, 100)), ("test", slice(100, 150))):
        digit_folder(tmp_path / "digits" / name, rows)
    memory, files = both(tmp_path)
    assert files.meta["shape"] == (1, 8, 8)
    require_same(memory, files)


def test_images_that_lie_on_their_side_and_names_of_any_bytes_are_read(tmp_path):
    note = Image.Exif()
    note[0x0112] = 6
    for name in ("a", "b"):
        folder = tmp_path / "digits" / name
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        for place in range(6):
            Image.fromarray(pixels).save(folder / f"{place}.png", exif=note)
            Image.fromarray(pixels).save(folder / f"{place}.jpg", exif=note)
        os.rename(folder / "0.png", os.fsencode(folder) + b"/\xff.png")  # noqa: PTH104 - a name that is no text
    memory, files = both(tmp_path)
    assert files.meta["shape"] == (3, 8, 6)
    require_same(memory, files)


@pytest.mark.parametrize("method", ["label_smoothing", "ps_kd"])
def test_the_curve_is_that_in_memory_whoever_reads_and_wherever_it_was_interrupted(tmp_path, method):
    digit_folder(tmp_path / "digits", slice(0, 200))
    settings = {"epochs": 2, "batch_size": 32}
    memory, files = both(tmp_path)
    expected = list(create(method, settings).train(Run(memory, test=True)))
    assert list(create(method, settings).train(Run(files, test=True, readers=2))) == expected
    run = Run(files, test=True, readers=0)
    next(create(method, settings).train(run))
    assert list(create(method, settings).train(Run(files, test=True, checkpoint=run.state(), readers=0))) == expected[1:]


def test_images_are_kept_in_memory_where_they_are_few(tmp_path, monkeypatch):
    digit_folder(tmp_path / "digits", slice(0, 100))
    assert isinstance(read("digits", spec_of(tmp_path, images="digits")).train, TensorDataset)
    monkeypatch.setattr(images, "LARGEST_IN_MEMORY", 100 * 3 * 8 * 8 * 4 - 1)
    assert isinstance(read("digits", spec_of(tmp_path, images="digits")).train, ImageFiles)
    # Resized, they take a quarter.
    assert isinstance(read("digits", spec_of(tmp_path, images="digits", size=[4, 4])).train, TensorDataset)


def test_what_is_wrong_with_an_image_is_said_with_its_name(tmp_path):
    digit_folder(tmp_path / "digits", slice(0, 100))
    odd = tmp_path / "digits" / "digit 4" / "odd.png"
    Image.new("L", (5, 9)).save(odd)
    said = refusal(tmp_path, images="digits", in_memory=False)
    assert said.startswith("digit 4/odd.png is 9 x 5 pixels, others are 8 x 8")
    odd.write_bytes(b"no image")
    assert refusal(tmp_path, images="digits", in_memory=False).startswith("digit 4/odd.png is no image that can be read")
    odd.unlink()
    data = read("digits", spec_of(tmp_path, images="digits", in_memory=False))
    damaged = next(iter((tmp_path / "digits").glob("digit 7/*.png")))
    # Its beginning is that of an image.
    damaged.write_bytes(damaged.read_bytes()[:60])
    for readers in (0, 2):
        run = Run(data, readers=readers)
        batches = chain.from_iterable(run.loader(getattr(data, split), 8) for split in SPLITS)
        with pytest.raises(DataError, match=f"^digit 7/{damaged.name} is no image that can be read") as error:
            list(batches)
        assert "\n" not in str(error.value)


def test_other_data_than_folders_of_images_have_no_such_choice(tmp_path):
    with pytest.raises(ValidationError, match="in_memory is for folders of images"):
        spec_of(tmp_path, csv="a.csv", target="y", in_memory=False)


def test_a_page_shows_the_classes_of_all_images_and_draws_some(tmp_path):
    digit_folder(tmp_path / "digits", slice(0, 400))
    pages = []
    for data in both(tmp_path):
        console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
        console.print(data_page(data))
        pages.append(console.export_text())
    assert "read in batches; of training, the first 200 rows are looked at" in pages[1]
    rest = [[line for line in page.splitlines() if "looked at" not in line and "inputs of" not in line] for page in pages]
    assert rest[0] == rest[1]
