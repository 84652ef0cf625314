"""Linear measurements of images: blur, compressed sensing, tomography. Each is told by a few numbers."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d


@dataclass(frozen=True)
class Measurement:
    """A linear map A of images ``[N, C, H, W]``, each alike.

    Attributes:
        shape: (C, H, W).
    """

    shape: tuple[int, int, int]

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Ax ``[N, ...]``."""

    @abstractmethod
    def adjoint(self, b: Tensor) -> Tensor:
        """Aᵀb ``[N, C, H, W]``."""

    @cached_property
    def squared_norm(self) -> float:
        """The largest eigenvalue of AᵀA, by power iteration."""
        x = torch.randn(1, *self.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        value = torch.zeros(())
        for _ in range(100):
            x = self.adjoint(self.forward(x / x.norm()))
            value = x.norm()
        return value.item()


@dataclass(frozen=True)
class Blur(Measurement):
    """Convolution of each channel with a normalized Gaussian, of which all is kept that has a part of the image in it.

    The kernel is a square of max(5, ⌊3 deviation⌋) pixels, one more where that is even; as released, Ax is wider than x by its
    side less 1.

    Attributes:
        deviation: of the Gaussian, in pixels.
    """

    deviation: float = 1.0

    @cached_property
    def kernel(self) -> Tensor:
        """``[C, 1, K, K]``, float64."""
        side = max(5, int(3 * self.deviation))
        side += 1 - side % 2
        places = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
        line = (-places.square() / (2 * self.deviation**2)).exp()
        plane = torch.outer(line, line) / line.sum() ** 2
        return plane.expand(self.shape[0], 1, side, side).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """The full convolution ``[N, C, H + K - 1, W + K - 1]``; the kernel is symmetric."""
        return conv2d(x, self.kernel.to(x), padding=self.kernel.shape[-1] - 1, groups=self.shape[0])

    def adjoint(self, b: Tensor) -> Tensor:
        """Its transpose."""
        return conv_transpose2d(b, self.kernel.to(b), padding=self.kernel.shape[-1] - 1, groups=self.shape[0])


@dataclass(frozen=True)
class CompressedSensing(Measurement):
    """Random signs, a circular convolution with Gaussian numbers, and some of the results.

    Ax = [F⁻¹(F(s ⊙ x) ⊙ F(a))]_I with orthonormal Fourier transforms F of the pixels in a row, signs s, a ~ N(0, I) and a
    random set I.

    Attributes:
        measurements: |I|.
        seed: of signs, numbers and set.
    """

    measurements: int = 64
    seed: int = 0

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """S ``[n]``, F(a) ``[n]`` and I ``[measurements]``."""
        numbers, pixels = np.random.default_rng(self.seed), int(np.prod(self.shape))
        gaussian = torch.from_numpy(numbers.standard_normal(pixels))
        signs = torch.from_numpy(numbers.choice([-1.0, 1.0], pixels))
        places = torch.from_numpy(numbers.choice(pixels, self.measurements, replace=False))
        return signs, torch.fft.fft(gaussian, norm="ortho"), places

    def forward(self, x: Tensor) -> Tensor:
        """``[N, measurements]``."""
        signs, spectrum, places = self._parts(x)
        mixed = torch.fft.ifft(torch.fft.fft(x.flatten(1) * signs, norm="ortho") * spectrum, norm="ortho")
        return mixed.real[:, places]

    def adjoint(self, b: Tensor) -> Tensor:
        """Its transpose."""
        signs, spectrum, places = self._parts(b)
        spread = b.new_zeros(len(b), len(signs))
        spread[:, places] = b
        mixed = torch.fft.ifft(torch.fft.fft(spread, norm="ortho") * spectrum.conj(), norm="ortho")
        return (mixed.real * signs).reshape(-1, *self.shape)

    def _parts(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        signs, spectrum, places = self.parts
        return signs.to(like), spectrum.to(like.device, like.to(torch.complex64).dtype), places.to(like.device)


@dataclass(frozen=True)
class Tomography(Measurement):
    """Sums along parallel rays: at each angle every pixel falls, in shares, on the two detectors next to its projection.

    Angles are equally spaced in [0, π), detectors as wide as pixels and as many as needed for the image's diagonal.

    Attributes:
        angles: how many.
    """

    angles: int = 12

    @property
    def detectors(self) -> int:
        """At each angle."""
        return int(np.ceil(np.hypot(*self.shape[1:]))) + 2

    @cached_property
    def rays(self) -> tuple[Tensor, Tensor]:
        """The lower detector of each angle and pixel, among all ``[angles, H W]``, and the share of the next one."""
        height, width = self.shape[1:]
        y, x = torch.meshgrid(
            torch.arange(height, dtype=torch.float64) - (height - 1) / 2,
            torch.arange(width, dtype=torch.float64) - (width - 1) / 2,
            indexing="ij",
        )
        angle = torch.arange(self.angles, dtype=torch.float64)[:, None] * np.pi / self.angles
        place = x.flatten() * angle.cos() + y.flatten() * angle.sin() + (self.detectors - 1) / 2
        lower = place.floor()
        return (lower + self.detectors * torch.arange(self.angles)[:, None]).long(), place - lower

    def forward(self, x: Tensor) -> Tensor:
        """The sinograms ``[N, C, angles, detectors]``."""
        lower, share = (part.to(x.device) for part in self.rays)
        pixels = x.flatten(2)[:, :, None]
        sums = x.new_zeros(*x.shape[:2], self.angles * self.detectors)
        sums.index_add_(2, lower.flatten(), (pixels * (1 - share).to(x)).flatten(2))
        sums.index_add_(2, lower.flatten() + 1, (pixels * share.to(x)).flatten(2))
        return sums.unflatten(2, (self.angles, self.detectors))

    def adjoint(self, b: Tensor) -> Tensor:
        """Its transpose, the unfiltered back projection."""
        lower, share = (part.to(b.device) for part in self.rays)
        sums = b.flatten(2)
        pixels = sums[:, :, lower] * (1 - share).to(b) + sums[:, :, lower + 1] * share.to(b)
        return pixels.sum(2).unflatten(2, self.shape[1:])
