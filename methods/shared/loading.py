"""Mini-batches of data sets that are read while they are used: any map-style dataset, here or in processes of its own.

A row is a tuple, such as (input, label), of tensors, arrays, numbers and PIL images. Images and other bytes of two axes or more
are pixels, and become numbers in [0, 1]; other whole numbers become int64, real ones float32.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from regbench.methods.errors import ConfigError, DataError, RegbenchError

MOST_WORKERS = 4
AT_ONCE = 64
SIXTEEN_BITS = 65_535

Request = tuple[int, Sequence[int]]
"""Rows to read together, and the seed of what is random in reading them."""


def default_workers() -> int:
    """How many processes read for a training: one less than it has threads, which a trial has as many as CPUs."""
    return min(MOST_WORKERS, torch.get_num_threads() - 1)


def read(
    split: Dataset[Any], parts: Sequence[Sequence[int]], seed: int, device: torch.device, workers: int
) -> Iterator[tuple[Tensor, ...]]:
    """Rows of a split, part by part, on the device; the same whatever the number of workers.

    Args:
        split: a map-style dataset.
        parts: the rows of each batch; ``AT_ONCE`` of them are read at a time, so that what is read ahead stays small.
        seed: of what is random in reading them.
        device: where the batches are wanted; for a GPU they pass through pinned memory.
        workers: processes that read ahead; 0 reads in this one.

    Raises:
        DataError: rows are no tuples of one form.
    """
    pieces = [[part[start : start + AT_ONCE] for start in range(0, len(part), AT_ONCE)] for part in parts]
    requests = [(seed + number, piece) for number, piece in enumerate(chain.from_iterable(pieces))]
    workers = max(0, min(workers, len(requests) - 1))
    loader = DataLoader(
        _Batches(split),
        batch_size=None,
        sampler=requests,
        num_workers=workers,
        collate_fn=_as_it_is,
        # A plugin's dataset can be forked, but is not importable in a fresh process.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        # Otherwise it draws from torch's global generator.
        generator=torch.Generator(),
    )
    found = iter(loader)
    for part, some in zip(parts, pieces, strict=True):
        yield _joined([_moved(next(found), device) for _ in some], part)


def _moved(found: tuple[np.ndarray, ...] | RegbenchError, device: torch.device) -> tuple[Tensor, ...]:
    """What was read as tensors on the device, pixels as numbers."""
    if isinstance(found, RegbenchError):
        raise found
    tensors = [torch.from_numpy(array) for array in found]
    tensors = [tensor.float().div_(255) if tensor.dtype == torch.uint8 else tensor for tensor in tensors]
    if device.type == "cuda":
        tensors = [tensor.pin_memory() for tensor in tensors]
    return tuple(tensor.to(device, non_blocking=True) for tensor in tensors)


def _joined(pieces: list[tuple[Tensor, ...]], rows: Sequence[int]) -> tuple[Tensor, ...]:
    """Pieces of a batch as one."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return tuple(torch.cat(columns) for columns in zip(*pieces, strict=True))
    except (RuntimeError, ValueError):
        raise DataError(f"rows {rows[0]} and {rows[-1]} of the data set, or some between them, have different shapes") from None


def _as_it_is(batch: Any) -> Any:
    return batch


class _Batches(Dataset[Any]):
    """A split as its batches, by request.

    They are arrays, which processes send through a pipe: tensors would go through shared memory, of which containers have
    little by default, and what PyTorch remembers of it would scatter the memory of the process that receives them. An error is
    handed on as a value: workers would wrap it in their traceback.
    """

    def __init__(self, split: Dataset[Any]) -> None:
        self._split = split

    def __getitem__(self, request: Request) -> tuple[np.ndarray, ...] | RegbenchError:
        seed, rows = request
        try:
            with _seeded(seed):
                return tuple(tensor.numpy() for tensor in collate([self._split[row] for row in rows], rows))
        except RegbenchError as error:
            return error


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Lets what is random in a dataset follow a seed; afterwards the process's generators are where they were."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def collate(samples: Sequence[Any], rows: Sequence[int]) -> tuple[Tensor, ...]:
    """Rows of a dataset as tensors ``[B, …]``; pixels are bytes, other whole numbers int64, real ones float32.

    Args:
        samples: the rows.
        rows: their indices, for messages.

    Raises:
        DataError: they are no tuples, or differ in their shapes.
    """
    columns = []
    for row, sample in zip(rows, samples, strict=True):
        if not isinstance(sample, tuple | list) or len(sample) < 2 or len(sample) != len(samples[0]):
            raise DataError(
                f"row {row} of the data set is of type {type(sample).__name__}, not a tuple (input, label) as long as others"
            )
        columns.append([_tensor(value) for value in sample])
    for row, parts in zip(rows, columns, strict=True):
        for part, first in zip(parts, columns[0], strict=True):
            if part.shape != first.shape:
                shapes = f"{tuple(part.shape)}, row {rows[0]} {tuple(first.shape)}"
                raise DataError(f"row {row} of the data set has shape {shapes}: bring all to one")
    return tuple(_numbers(torch.stack(parts)) for parts in zip(*columns, strict=True))


def _tensor(value: Any) -> Tensor:
    """A part of a row; of a PIL image its bytes ``[C, H, W]``."""
    if hasattr(value, "getbands"):
        return torch.from_numpy(pixels(value).transpose(2, 0, 1).copy())
    return torch.as_tensor(value)


def is_grey(mode: str) -> bool:
    """Whether images of a mode of PIL have one channel here: black and white, grey, also with transparency or of 16 bits."""
    return mode in ("1", "L", "LA", "La") or mode.startswith("I")


def eight_bits(image: Any) -> Any:
    """A PIL image as a grey one, if it is, or as RGB, in bytes; transparency is left out."""
    from PIL import Image

    if image.mode.startswith("I"):
        deep = np.asarray(image).clip(0, SIXTEEN_BITS)
        return Image.fromarray((deep / (SIXTEEN_BITS / 255)).round().astype(np.uint8))
    return image.convert("L" if is_grey(image.mode) else "RGB")


def pixels(image: Any) -> np.ndarray:
    """A PIL image as bytes ``[H, W, 1]``, where it is grey, or ``[H, W, 3]``."""
    found = np.asarray(eight_bits(image))
    return found[:, :, None] if found.ndim == 2 else found


def _numbers(values: Tensor) -> Tensor:
    if values.is_floating_point():
        return values.float()
    as_it_is = values.dtype == torch.bool or (values.dtype == torch.uint8 and values.ndim > 2)
    return values if as_it_is else values.long()


def rows_of(split: Dataset[Any], rows: Tensor) -> tuple[Tensor, ...]:
    """Rows of a split by their indices ``[B]``, on the CPU; what is random in reading them is drawn by a fixed seed."""
    if isinstance(split, TensorDataset):
        return tuple(tensor[rows] for tensor in split.tensors)
    return next(read(split, [rows.tolist()], 0, torch.device("cpu"), 0))


def labels_of(split: Dataset[Any], name: str) -> Tensor:
    """The labels ``[N]`` of all rows, without reading these: of a dataset that is not tensors its ``targets``.

    Those of torchvision have them.

    Args:
        split: the split.
        name: of the data set, for messages.

    Raises:
        ConfigError: they are not known.
    """
    if isinstance(split, TensorDataset):
        return split.tensors[1]
    if not hasattr(split, "targets"):
        raise ConfigError(
            f"data set '{name}' needs an attribute `targets` with all training labels, where nothing else knows them"
        )
    return torch.as_tensor(split.targets).long()
