"""What tests of one's own files share: commands in their process, each as if in one of its own, and photographs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from in_process import Here
from PIL import Image
from registrations import forget, look_anew


class Fresh(Here):
    """Runs each command as the first that sees plugins."""

    def __call__(self, folder: Path, *arguments: str) -> tuple[int, str, str]:
        forget(self.monkeypatch)
        return super().__call__(folder, *arguments)


def draw_photos(folder: Path, mode: str = "L") -> None:
    """Forty images of two classes, dark and light, in a folder each; in a mode of PIL."""
    numbers = np.random.default_rng(0)
    for number in range(40):
        path = folder / ("dark", "light")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((numbers.integers(0, 128, (6, 6)) + 127 * (number % 2)).astype("uint8")).convert(mode).save(path)


@pytest.fixture
def fresh(monkeypatch, capsys) -> Iterator[Fresh]:
    with monkeypatch.context() as patched:
        forget(patched)
        yield Fresh(patched, capsys)
    look_anew()
