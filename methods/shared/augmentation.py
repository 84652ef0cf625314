"""The usual augmentation of small photographs, alone or composed, and views of images for contrastive learning.

Images need not be in [0, 1]; what is in it may leave it a little by noise and by changes of colour.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import AfterValidator
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from regbench.methods.errors import ConfigError, nearest, one_line
from regbench.methods.run import Run
from regbench.methods.shared.extras import library

Transform = Callable[[Tensor, torch.Generator], Tensor]
"""Draws an image of the same shape from each of a batch's images ``[B, C, H, W]``, by a generator on their device."""

MARGIN = 4
# Names of transforms of torchvision.transforms.v2 begin with it.
TORCHVISION = "v2:"
# The brightness of red, green and blue (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


def shift(x: Tensor, generator: torch.Generator, *, flip: bool, margin: int = MARGIN) -> Tensor:
    """Each image moved by up to ``margin`` pixels in both directions, 0 beyond its border.

    Args:
        x: images ``[B, C, H, W]``.
        generator: draws moves and flips, on the device of ``x``.
        flip: whether half of the images are mirrored, too.
        margin: the largest move.
    """
    count, _, height, width = x.shape
    rows, columns = torch.randint(2 * margin + 1, (2, count, 1), generator=generator, device=x.device)
    rows = rows + torch.arange(height, device=x.device)  # [B, H]
    columns = columns + torch.arange(width, device=x.device)  # [B, W]
    if flip:
        mirrored = torch.rand(count, 1, generator=generator, device=x.device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    images = torch.arange(count, device=x.device)[:, None, None]
    # Indices around a slice put the channels last.
    return pad(x, (margin,) * 4)[images, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def mirror(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Each image ``[B, C, H, W]`` mirrored, left to right, with a probability."""
    chosen = torch.rand(len(x), generator=generator, device=x.device) < probability
    return torch.where(chosen[:, None, None, None], x.flip(3), x)


def add_noise(x: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Images with Gaussian noise of a standard deviation on each number."""
    return x + deviation * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def jitter_colours(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Images with brightness, contrast and saturation changed by factors drawn from [1 - amount, 1 + amount]."""
    factors = 1 + amount * (2 * torch.rand(3, len(x), generator=generator, device=x.device, dtype=x.dtype) - 1)
    return recolour(x, *factors)


def recolour(x: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Images ``[B, C, H, W]`` with their distances to black, to their mean grey and to grey multiplied, by factors ``[B]``."""
    brightness, contrast, saturation = (factor[:, None, None, None] for factor in (brightness, contrast, saturation))
    x = brightness * x
    mean = _grey(x).mean((2, 3), keepdim=True)
    x = mean + contrast * (x - mean)
    grey = _grey(x)
    return grey + saturation * (x - grey)


def _grey(x: Tensor) -> Tensor:
    """The brightness of each pixel ``[B, 1, H, W]``."""
    if x.shape[1] != len(LUMA):
        return x.mean(1, keepdim=True)
    return (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


@dataclass(frozen=True)
class Views:
    """How a view of an image is drawn: rotated, scaled and moved at random, perhaps mirrored, with noise on its pixels.

    Attributes:
        rotation: largest angle in radians, either way.
        scale: largest relative change of size, below 1.
        shift: largest move in pixels, along either axis.
        noise: standard deviation of Gaussian noise.
        flip: whether half of the views are mirrored.
    """

    rotation: float = 0.25
    scale: float = 0.1
    shift: float = 2.0
    noise: float = 0.05
    flip: bool = False

    def draw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A view of each image ``[B, C, H, W]``, 0 beyond its border; bilinear between pixels.

        Args:
            x: images.
            generator: draws the views, on the device of ``x``.
        """
        count, _, height, width = x.shape
        angle, size, across, down = torch.rand(4, count, generator=generator, device=x.device, dtype=x.dtype) * 2 - 1
        angle, size = self.rotation * angle, 1 + self.scale * size
        mirror = torch.ones_like(angle)
        if self.flip:
            mirror -= 2 * (torch.rand(count, generator=generator, device=x.device) < 0.5).to(x.dtype)
        cosine, sine = angle.cos() / size, angle.sin() / size
        # Where a pixel of the view is found in the image, in units of half its sides.
        rows = [
            [mirror * cosine, -mirror * sine * height / width, 2 * self.shift / width * across],
            [sine * width / height, cosine, 2 * self.shift / height * down],
        ]
        places = torch.stack([torch.stack(row, 1) for row in rows], 1)  # [B, 2, 3]
        grid = affine_grid(places, list(x.shape), align_corners=False)
        view = grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return add_noise(view, self.noise, generator) if self.noise else view


def rotate(x: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Each image ``[B, C, H, W]`` turned by an angle of up to so many degrees, either way."""
    return Views(rotation=math.radians(degrees), scale=0.0, shift=0.0, noise=0.0).draw(x, generator)


def two_views(x: Tensor, draw: Transform, generator: torch.Generator) -> Tensor:
    """Two views of each image ``[2 B, C, H, W]``: one of every image of the batch, then another of every image.

    Args:
        x: images ``[B, C, H, W]``.
        draw: how a view is drawn: ``Views(…).draw``, or a ``composition``.
        generator: draws them.
    """
    return draw(x.repeat(2, 1, 1, 1), generator)


@dataclass(frozen=True)
class Step:
    """What a suite may compose: a transform, the amount by default, and the largest one."""

    apply: Callable[[Tensor, Any, torch.Generator], Tensor]
    amount: float
    most: float
    whole: bool = False

    def problem(self, amount: Any) -> str | None:
        """What it takes, where that is not an amount that a suite gives."""
        right = isinstance(amount, int if self.whole else int | float) and not isinstance(amount, bool)
        if right and 0 < amount <= self.most:
            return None
        most = "" if math.isinf(self.most) else f", at most {self.most:g}"
        return f"a {'whole' if self.whole else 'real'} number above 0{most}"


STEPS = {
    "crop": Step(lambda x, margin, generator: shift(x, generator, flip=False, margin=margin), MARGIN, math.inf, whole=True),
    "flip": Step(mirror, 0.5, 1.0),
    "rotation": Step(rotate, 15.0, 180.0),
    "noise": Step(add_noise, 0.05, math.inf),
    "colour_jitter": Step(jitter_colours, 0.2, 1.0),
}


# The augmentations that have a name of their own.
NAMED = ("none", "shift", "shift_and_flip")


def _parted(step: Any) -> tuple[str, Any]:
    """Name and amount of a step, as a suite writes it; None for the amount by default."""
    if isinstance(step, str):
        return step, None
    if isinstance(step, Mapping) and len(step) == 1:
        ((name, amount),) = step.items()
        return str(name), amount
    raise ValueError(f"a step of augmentation is a name, or one name with its amount, not {step}")


def _require_known(augmentation: str | list[Any]) -> str | list[Any]:
    """Refuses augmentations that do not exist, and amounts that make no sense."""
    if isinstance(augmentation, str):
        if augmentation not in NAMED:
            raise ValueError(f"must be one of {', '.join(NAMED)}, or a list such as [crop, flip]")
        return augmentation
    for name, amount in map(_parted, augmentation):
        if name.startswith(TORCHVISION):
            if not isinstance(amount, Mapping | None):
                raise ValueError(f"{name} takes settings by name, such as {{num_ops: 2}}, not {amount}")
        elif name not in STEPS:
            raise ValueError(f"unknown augmentation '{name}'; {nearest(name, STEPS)} Or one of torchvision's: v2:RandAugment")
        elif amount is not None and (problem := STEPS[name].problem(amount)):
            raise ValueError(f"{name} takes {problem}, not {amount}")
    return augmentation


Augmentation = Annotated[str | list[Any], AfterValidator(_require_known)]
AUGMENTATION_HELP = (
    "of training images: none, shift (moved by up to 4 pixels), shift_and_flip (and mirrored); or a list that is composed, as "
    "[crop, flip: 0.3], of crop (padding in pixels, 4), flip (probability, 0.5), rotation (degrees, 15), noise (standard "
    "deviation, 0.05), colour_jitter (of brightness, contrast, saturation, 0.2) and torchvision's, such as v2:RandAugment"
)


def composition(augmentation: Augmentation) -> Transform:
    """An augmentation of the settings as one transform: its steps one after the other.

    Raises:
        SurroundingsError: it names a transform of torchvision, which cannot be imported.
        ConfigError: torchvision has none of that name, or refuses its settings.
    """
    if isinstance(augmentation, str):
        flip = augmentation == "shift_and_flip"
        return lambda x, generator: x if augmentation == "none" else shift(x, generator, flip=flip)
    transforms = [_transform(*_parted(step)) for step in augmentation]

    def apply(x: Tensor, generator: torch.Generator) -> Tensor:
        for transform in transforms:
            x = transform(x, generator)
        return x

    return apply


def _transform(name: str, amount: Any) -> Transform:
    if name.startswith(TORCHVISION):
        return _of_torchvision(name, amount or {})
    step = STEPS[name]
    return lambda x, generator: step.apply(x, step.amount if amount is None else amount, generator)


def _of_torchvision(name: str, settings: Mapping[str, Any]) -> Transform:
    """A transform of torchvision, drawn anew for each image. Its random numbers are torch's global ones."""
    v2 = library("torchvision.transforms.v2", "vision", f"augmentation {name}")
    kind = getattr(v2, name.removeprefix(TORCHVISION), None)
    if not (isinstance(kind, type) and issubclass(kind, v2.Transform)):
        offered = (f"{TORCHVISION}{each}" for each in vars(v2) if each[0].isupper())
        raise ConfigError(f"augmentation {name}: torchvision.transforms.v2 has no such transform; {nearest(name, offered)}")
    try:
        transform = kind(**settings)
    except Exception as error:
        raise ConfigError(f"augmentation {name}: {one_line(error)}") from None

    def apply(x: Tensor, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**62, (), generator=generator, device=x.device))
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed(seed)
            try:
                images = [transform(image) for image in x]
            except torch.OutOfMemoryError:
                raise
            except (TypeError, ValueError, RuntimeError) as error:
                raise ConfigError(f"augmentation {name}: {one_line(error)}") from None
        if any(not isinstance(image, Tensor) or (image.shape, image.dtype) != (x.shape[1:], x.dtype) for image in images):
            raise ConfigError(f"augmentation {name} makes something else of images than numbers of shape {tuple(x.shape[1:])}")
        return torch.stack(images)

    return apply


def augment(x: Tensor, augmentation: Augmentation, run: Run) -> Tensor:
    """A mini-batch of training images ``[B, C, H, W]``, augmented by a random stream of its own.

    Raises:
        ConfigError: these are no images.
    """
    if augmentation == "none":
        return x
    if x.ndim != 4:
        raise ConfigError(f"augmentation is for images [C, H, W]: an input of {run.data.name} has shape {tuple(x.shape[1:])}")
    return composition(augmentation)(x, run.generator("augmentation", run.device))
