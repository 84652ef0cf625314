"""The loader of animated stickers, on tiny Parquet files in its format."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from regbench.methods.clips.task import clip_features
from regbench.methods.errors import ConfigError, DataError
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import sources
from regbench.methods.shared.data.animated_stickers import word_numbers


def encoded(colour, mode="RGB", size=(20, 12)):
    """A frame of one colour, as PNG."""
    stream = io.BytesIO()
    Image.new(mode, size, colour).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    (tmp_path / "vsd2m").mkdir()
    return tmp_path / "vsd2m"


def write(path, lengths, column="frames"):
    clips = [[encoded((10 * place, 0, 255)) for place in range(length)] for length in lengths]
    captions = [f"A cat jumps {length} times" for length in lengths]
    pq.write_table(pa.table({column: clips, "caption": captions}), path)


def test_clips_of_all_lengths_are_read(folder):
    write(folder / "part-0.parquet", [2, 3, 15, *[8] * 12])
    write(folder / "part-1.parquet", [5, 1, *[9] * 10])
    data = sources()["animated_stickers"].read()
    clips, lengths, captions = data.train.tensors
    assert len(data.validation) == len(data.test) == 2
    assert len(clips) == 27 - 4
    assert lengths[:2].tolist() == [2, 3]
    assert clips.dtype == torch.uint8
    assert clips.shape[1:] == data.meta["shape"] == (8, 3, 32, 32)
    # Colours of frames 0, 1, 2 in order, then nothing.
    assert clips[1, :, 0, 5, 5].tolist() == [0, 10, 20, 0, 0, 0, 0, 0]
    assert (clips[1, :3, 2] == 255).all()
    # Of 15 frames, 8 at equal distances.
    assert data.validation.tensors[0][0, :, 0, 0, 0].tolist() == [10 * place for place in range(0, 15, 2)]
    assert captions.max() < data.meta["vocabulary"]
    assert (captions[0] > 0).sum() == 5
    assert torch.equal(word_numbers("a CAT"), word_numbers("A cat"))
    with pytest.raises(ConfigError, match="set samples to 0"):
        clip_features(data)


def test_methods_train_on_them(folder):
    write(folder / "part.parquet", [2, 4, 6, *[8] * 12])
    data = sources()["animated_stickers"].read()
    method = create("rdtf", {"iterations": 2, "report_every": 2, "batch_size": 4, "width": 8})
    (metrics,) = method.train(Run(data))
    assert np.isfinite(list(metrics.values())).all()


def test_transparent_pixels_are_white(folder):
    clips = [[encoded((0, 0, 0, 0), "RGBA"), encoded(7, "L")]] * 2 + [[encoded((255, 0, 0))] * 8] * 10
    pq.write_table(pa.table({"frames": clips, "caption": [None] * 12}), folder / "part.parquet")
    data = sources()["animated_stickers"].read()
    frames = data.train.tensors[0][0]
    assert (frames[0] == 255).all()
    assert (frames[1] == 7).all()
    assert (data.train.tensors[2] == 0).all()


def test_missing_or_damaged_files_are_told(folder):
    with pytest.raises(DataError, match=r"vsd2m/\*\.parquet"):
        sources()["animated_stickers"].read()
    write(folder / "part.parquet", [8] * 5)
    with pytest.raises(DataError, match="at least 10"):
        sources()["animated_stickers"].read()
    write(folder / "part.parquet", [8] * 12, column="images")
    with pytest.raises(DataError, match="columns frames and caption"):
        sources()["animated_stickers"].read()
    pq.write_table(pa.table({"frames": [[b"no image"]], "caption": ["x"]}), folder / "part.parquet")
    with pytest.raises(DataError, match="cannot be decoded"):
        sources()["animated_stickers"].read()
    (folder / "part.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="damaged"):
        sources()["animated_stickers"].read()
