"""A sweep over a folder of 3,000 images that are decoded while they are used, with a network of one's own and augmentation."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage

PLUGIN = '''
from torch import nn
from regbench.methods.shared.factories import architecture


@architecture("small_net")
def small_net(shape, classes):
    """A convolution with batch normalization."""
    inputs, height, width = shape
    return nn.Sequential(
        nn.Conv2d(inputs, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * height * width, classes),
    )
'''
SUITE = {
    "name": "photos",
    "plugins": ["./mine.py"],
    "methods": ["label_smoothing", "mixup", "ps_kd"],
    "data": {"photos": {"images": "photos", "in_memory": False}},
    "settings": {
        "architecture": "small_net",
        "augmentation": [{"crop": 1}, "flip", {"noise": 0.02}],
        "epochs": 1,
        "batch_size": 100,
    },
    "trials": 1,
    "sampler": "random",
    "execution": "inline",
    "confirm": {"seeds": 1, "ablate": False},
}


@pytest.fixture
def photos(tmp_path) -> Path:
    """3,000 images of three classes, each bright in a band of its own."""
    draw = np.random.default_rng(0)
    for label in range(3):
        folder = tmp_path / "photos" / f"band {label}"
        folder.mkdir(parents=True)
        pixels = draw.integers(0, 150, (1000, 9, 9, 3)).astype(np.uint8)
        pixels[:, 3 * label : 3 * label + 3] += 100
        for number, image in enumerate(pixels):
            Image.fromarray(image).save(folder / f"{number}.png", compress_level=1)
    (tmp_path / "mine.py").write_text(PLUGIN)
    return tmp_path


def test_three_methods_learn_a_folder_of_images_and_what_cannot_work_is_refused_before(photos, fresh):
    whole = {"methods": ["weighted_logistic_regression"], "settings": {}}
    (photos / "suite.yaml").write_text(yaml.safe_dump(SUITE | whole))
    said = fresh.refused(photos, "sweep", "suite.yaml", "--tracking", "none", "--name", "whole")
    assert "weighted_logistic_regression needs all rows of 'photos' at once" in said
    (photos / "suite.yaml").write_text(yaml.safe_dump(SUITE))
    fresh.succeeds(photos, "sweep", "suite.yaml", "--tracking", "none")
    rows = Records(Storage(photos / "regbench-results" / "photos")).trials().to_pylist()
    assert {row["entry"] for row in rows} >= {"label_smoothing", "mixup", "ps_kd"}
    assert {row["status"] for row in rows} == {"completed"}
    tested = {row["entry"]: dict(row["metrics"])["test/accuracy"] for row in rows if row["stage"] == "confirm"}
    assert len(tested) == 4
    assert min(tested.values()) > 0.9
    damaged = photos / "photos" / "band 1" / "7.png"
    damaged.write_bytes(b"no image")
    said = fresh.refused(photos, "sweep", "suite.yaml", "--tracking", "none", "--name", "again")
    assert "band 1/7.png is no image that can be read" in said
