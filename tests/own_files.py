"""Small files of a user's own that tests write: a folder of images, and a table."""

from pathlib import Path

import numpy as np
from PIL import Image


def draw_photos(folder: Path, mode: str = "L") -> None:
    """Forty images of two classes, dark and light, in a folder each; in a mode of PIL."""
    numbers = np.random.default_rng(0)
    for number in range(40):
        path = folder / ("dark", "light")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((numbers.integers(0, 128, (6, 6)) + 127 * (number % 2)).astype("uint8")).convert(mode).save(path)


def draw_flowers(file: Path) -> str:
    """Writes a table with texts and gaps; returns what a suite says of it, for a command."""
    rows = [f"{row % 7},{('red', 'white', '')[row % 3]},{('rose', 'tulip')[row % 2]}" for row in range(60)]
    file.write_text("\n".join(["petals,colour,kind", *rows]))
    return f"{{csv: {file.name}, target: kind}}"
