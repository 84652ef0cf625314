"""Animated digits: clips of a handwritten digit that moves, turns or blinks by one of six scripts, with captions."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset

FRAMES, SIDE, DIGIT = 8, 16, 8
COUNTS = {"train": 1500, "validation": 300, "test": 300}
MOTIONS = ("right", "down", "diagonal", "jumping", "turning", "blinking")
CLASSES = 10
SHORTEST = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipData(Data):
    """Clips of different lengths to learn from; those to validate and test with are all complete.

    Attributes:
        complete: complete clips like those to learn from, and their classes ``[N]``, which only the evaluation's features see.
    """

    complete: TensorDataset


@dataset("moving_digits", help="clips of 2 to 8 frames of 16x16, digits that move by six scripts: 1,500 / 300 / 300")
def moving_digits(split: int = 0) -> ClipData:
    """All clips to learn from."""
    return clips_of_digits("moving_digits", split, COUNTS["train"])


@dataset("moving_digits_few", help="the moving digits with 120 clips to learn from, of which one in fourteen is complete")
def moving_digits_few(split: int = 0) -> ClipData:
    """So few that what is learned from the complete ones alone is soon learned by heart."""
    return clips_of_digits("moving_digits_few", split, 120)


def clips_of_digits(name: str, split: int, learned: int) -> ClipData:
    """Clips ``[N, 8, 1, 16, 16]`` in [-1, 1], lengths ``[N]``, and captions ``[N, 2]``, tokens of digit and motion.

    Lengths of training clips are drawn with probability proportional to 1/length, from 2 to 8; the rest of such a clip is 0.
    The digits of the three splits are different images.

    Args:
        name: of the data set.
        split: the number of the split.
        learned: clips to learn from, the first ones of 1,500.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    digits = torch.tensor(images / 8.0 - 1.0, dtype=torch.float32).reshape(-1, DIGIT, DIGIT)
    classes = torch.tensor(labels)
    stream = torch.Generator().manual_seed(split)
    order = torch.randperm(len(digits), generator=stream)
    total = sum(COUNTS.values())
    ends = [round(len(order) * sum(list(COUNTS.values())[:part]) / total) for part in (1, 2)]
    splits, complete = {}, None
    for (part, count), rows in zip(COUNTS.items(), order.tensor_split(ends), strict=True):
        chosen = rows[torch.randint(len(rows), (count,), generator=stream)]
        motions = torch.randint(len(MOTIONS), (count,), generator=stream)
        clips = animate(digits[chosen], motions, stream)
        captions = torch.stack([1 + classes[chosen], 1 + CLASSES + motions], 1)
        lengths = torch.full((count,), FRAMES)
        if part == "train":
            complete = TensorDataset(clips.flatten(1).clone(), classes[chosen] * len(MOTIONS) + motions)
            choices = torch.arange(SHORTEST, FRAMES + 1)
            lengths = choices[torch.multinomial(1 / choices, count, replacement=True, generator=stream)]
            clips = clips * (torch.arange(FRAMES) < lengths[:, None])[:, :, None, None, None]
        splits[part] = TensorDataset(clips, lengths, captions)
    assert complete is not None
    meta = {"shape": (FRAMES, 1, SIDE, SIDE), "vocabulary": 1 + CLASSES + len(MOTIONS)}
    return ClipData(
        name=name,
        train=TensorDataset(*(rows[:learned] for rows in splits["train"].tensors)),
        validation=splits["validation"],
        test=splits["test"],
        meta=meta,
        pool=total,
        complete=complete,
    )


def animate(digits: Tensor, motions: Tensor, stream: torch.Generator) -> Tensor:
    """Clips ``[N, 8, 1, 16, 16]`` of digits ``[N, 8, 8]`` that start at a random place and follow the scripts ``[N]``.

    Three scripts move by a pixel a frame, to the right, down, or both, and turn back at the border; one jumps by four pixels
    to the right and back; one turns by 90° a frame, and one is seen in every other frame.
    """
    count, margin = len(digits), SIDE - DIGIT
    start = torch.randint(margin + 1, (count, 2), generator=stream)
    frames = torch.arange(FRAMES)

    def bounced(place: Tensor) -> Tensor:
        """Back and forth between 0 and the margin."""
        return margin - (place % (2 * margin) - margin).abs()

    named = {name: motions == number for number, name in enumerate(MOTIONS)}
    steps = frames[None].expand(count, -1)
    rows = start[:, :1] + steps * (named["down"] | named["diagonal"])[:, None]
    columns = start[:, 1:] + steps * (named["right"] | named["diagonal"])[:, None]
    columns = columns + 4 * (steps % 2) * named["jumping"][:, None]
    rows, columns = bounced(rows), bounced(columns)
    turns = (steps % 4) * named["turning"][:, None]
    turned = torch.stack([digits.rot90(number, (1, 2)) for number in range(4)], 1)
    shown = turned[torch.arange(count)[:, None], turns]  # [N, 8, 8, 8]
    seen = ~(named["blinking"][:, None] & (steps % 2 == 1))
    shown = torch.where(seen[:, :, None, None], shown, -1.0)
    canvas = torch.full((count, FRAMES, SIDE, SIDE), -1.0)
    pixels = torch.arange(DIGIT)
    clip, frame = torch.arange(count)[:, None, None, None], frames[:, None, None]
    canvas[clip, frame, rows[:, :, None, None] + pixels[:, None], columns[:, :, None, None] + pixels] = shown
    return canvas[:, :, None]
