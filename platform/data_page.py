"""What a data set holds, for the terminal: rows, classes and ranges of its splits, its columns, and a few rows or images."""

from collections import Counter
from collections.abc import Callable
from itertools import accumulate

import torch
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from torch.utils.data import Dataset, TensorDataset

from regbench.methods.shared.data import Data
from regbench.methods.shared.loading import labels_of, rows_of

SPLITS = ("train", "validation", "test")
# As much as a page of a terminal has room for.
MOST_CLASSES, MOST_NAMES, SAMPLES = 20, 40, 5
# So many rows are read of a split that is not tensors.
READ = 200
# Letters of a line of rows, and of a column in it.
WIDEST_ROW, WIDEST = 90, 14
# The tallest drawing of an image, in lines; a pixel is two letters wide.
TALLEST = 14
SHADES = " ░▒▓█"


def data_page(data: Data, help: str = "") -> Group:
    """The data set on a page; of splits that are not tensors, by a few of their rows.

    Args:
        data: the data set.
        help: what it is, one line.
    """
    parts: list[RenderableType] = [Text.assemble((data.name, "bold"), f": {help}" if help else ""), _splits_table(data)]
    parts += [Text(line) for line in _facts(data)]
    if data.train and (tensors := _tensors(data.train)):
        if tensors[0].ndim == 4 and tensors[0].shape[1] in (1, 3):
            parts += [Text(), _pictures(data, tensors[0])]
        elif tensors[0].ndim == 2 and tensors[0].is_floating_point():
            parts += [Text(), _rows_table(data, tensors[0])]
    return Group(*parts)


def _tensors(split: Dataset) -> tuple[Tensor, ...]:
    """The tensors of a split that is made of nothing else; of one that is read in batches, those of its first rows."""
    if isinstance(split, TensorDataset):
        return split.tensors if type(split) is TensorDataset else ()
    return rows_of(split, torch.arange(min(len(split), READ)))  # type: ignore[arg-type]


def _target(data: Data, split: Dataset) -> Tensor | None:
    """What is predicted of each row ``[N]``, where that is one number."""
    if not isinstance(split, TensorDataset):
        return labels_of(split, data.name) if hasattr(split, "targets") else None
    place = 2 if "widths" in data.meta else 1
    tensors = _tensors(split)
    return tensors[place] if len(tensors) > place and tensors[place].ndim == 1 else None


def _class_names(data: Data) -> tuple[str, ...] | None:
    """The classes by number; None where nothing is classified."""
    if "class_names" in data.meta:
        return tuple(data.meta["class_names"])
    count = 2 if data.meta.get("target") == "binary" else data.meta.get("classes")
    return tuple(map(str, range(count))) if isinstance(count, int) else None


def _splits_table(data: Data) -> Table:
    """A column for each split: its rows, and of its target the classes or the range."""
    table = Table(header_style="dim")
    table.add_column("")
    for split in SPLITS:
        table.add_column(split, justify="right")
    splits = [getattr(data, split) for split in SPLITS]
    table.add_row("rows", *(f"{len(split):,}" for split in splits))
    targets = [target for split in splits if (target := _target(data, split)) is not None and len(target)]
    if len(targets) < len(SPLITS):
        return table
    names = _class_names(data)
    if names is None:
        for what, of in _STATISTICS.items():
            table.add_row(f"target, {what}", *(f"{round(of(target.double()).item(), 6):.4g}" for target in targets))
        return table
    # A negative number stands for a label that nobody knows.
    counts = [torch.bincount(target[target >= 0].long(), minlength=len(names)).tolist() for target in targets]
    if any((target < 0).any() for target in targets):
        table.add_row("no label", *(f"{(target < 0).sum().item():,}" for target in targets))
    for place, name in enumerate(names[:MOST_CLASSES]):
        table.add_row(f"class {name}", *(f"{count[place]:,}" for count in counts))
    if len(names) > MOST_CLASSES:
        rest = [count[MOST_CLASSES:] for count in counts]
        table.add_row(f"{len(names) - MOST_CLASSES} more, each", *(f"{min(count):,} to {max(count):,}" for count in rest))
    return table


_STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {"least": torch.min, "mean": torch.mean, "largest": torch.max}


def _facts(data: Data) -> list[str]:
    """What a row is, in what range inputs are, what the target is, and the names of the inputs."""
    lines = []
    if tensors := _tensors(data.train):
        shapes = [f"{str(t.dtype).removeprefix('torch.')} {list(t.shape[1:]) if t.ndim > 1 else ''}".strip() for t in tensors]
        lines.append(f"a row: {', '.join(shapes)}")
        x = tensors[0]
        if len(x) < len(data.train):
            lines.append(f"read in batches; of training, the first {len(x)} rows are looked at")
        if x.numel():
            lines.append(f"inputs of training: from {x.min().item():.4g} to {x.max().item():.4g}")
    if "told" in data.meta:
        lines.append(f"{data.meta['told']}: {data.meta['task']}")
    if "scale" in data.meta:
        lines.append(f"target standardized: 1 is {data.meta['scale']:.4g} in its own unit")
    if "protected" in data.meta:
        lines.append(f"protected: {', '.join(data.meta['protected'])}")
    if "widths" in data.meta and (tensors := _tensors(data.train)):
        lines.append(
            f"groups: {len(tensors[-1].unique())} in training, of {tensors[-1].bincount().max().item():,} rows at most"
        )
    if columns := data.meta.get("columns"):
        # A column of categories has become an input for each.
        counts = Counter(name.partition("=")[0] if "=" in name else name for name in columns)
        names = [name if name in columns else f"{name} ({count} categories)" for name, count in counts.items()]
        more = f" and {len(names) - MOST_NAMES} columns more" if len(names) > MOST_NAMES else ""
        lines.append(f"{len(columns)} inputs: {', '.join(names[:MOST_NAMES])}{more}")
    return lines


def _rows_table(data: Data, x: Tensor) -> Table:
    """The first rows of training: target, and as many inputs as there is room for."""
    columns = data.meta.get("columns") or [f"x{place}" for place in range(x.shape[1])]
    table = Table(title="first training rows", title_justify="left", header_style="dim")
    target, names = _target(data, data.train), _class_names(data)
    if target is not None:
        table.add_column(
            data.meta.get("target_column", "target"), style="bold", justify="right", no_wrap=True, max_width=WIDEST
        )
    # A number takes six letters, a border three.
    widths = accumulate(3 + min(WIDEST, max(6, len(name))) for name in columns)
    shown = sum(width <= WIDEST_ROW - WIDEST for width in widths)
    for name in columns[:shown]:
        table.add_column(name, justify="right", max_width=WIDEST, overflow="ellipsis", no_wrap=True)
    if len(columns) > shown:
        table.add_column("…")
    for row in range(min(SAMPLES, len(x))):
        cells = [f"{value:.3g}" for value in x[row, :shown].tolist()]
        if target is not None:
            cells.insert(0, names[int(target[row])] if names and target[row] >= 0 else f"{target[row].item():.3g}")
        table.add_row(*cells)
    return table


def _pictures(data: Data, images: Tensor) -> Columns:
    """The first training image of each of a few classes, or the first images."""
    target, names = _target(data, data.train), _class_names(data)
    if target is None or names is None:
        shown = dict.fromkeys(range(min(SAMPLES, len(images))), "")
    else:
        seen = target[: min(50 * len(names), len(images))].tolist()
        shown = {seen.index(label): f"class {names[label]}" for label in sorted({*seen} - {-1})[:SAMPLES]}
    part = images[list(shown)].double()
    low, high = part.min(), part.max()
    scaled = (part - low) / (high - low).clamp(min=1e-12)
    return Columns([Group(Text(caption), drawing(image)) for image, caption in zip(scaled, shown.values(), strict=True)])


def drawing(image: Tensor) -> Text:
    """An image ``[C, H, W]`` in [0, 1] in shaded letters, and in its colours where there are any; shrunk to fit."""
    height, width = image.shape[1:]
    shrunk = max(1.0, height / TALLEST, width / (2 * TALLEST))
    small = adaptive_avg_pool2d(image, (max(1, round(height / shrunk)), max(1, round(width / shrunk))))
    brightness = (small.mean(0) * (len(SHADES) - 1)).round().long()
    text = Text()
    for y, row in enumerate(brightness.tolist()):
        for x, shade in enumerate(row):
            style = "" if len(small) == 1 else "rgb({},{},{})".format(*(small[:, y, x] * 255).round().int().tolist())
            text.append(2 * SHADES[shade], style)
        text.append("\n")
    return text
