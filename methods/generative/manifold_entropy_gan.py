"""MaEM-GAN: against mode collapse, maximize the entropy of discriminator codes on a regularized manifold."""

from types import SimpleNamespace
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, mse_loss, pad

from regbench.methods.errors import ConfigError
from regbench.methods.generative.task import Codes, GenerativeMethod, Step, embed
from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.run import Run


def nearest_distance(codes: Tensor, buffer: Tensor) -> Tensor:
    """ρ_i = min over r in the buffer of ||v_i - r||² / m, ``[B]``, for codes ``[B, m]`` and a buffer ``[Q, m]``."""
    return (codes[:, None] - buffer).square().mean(2).min(1).values


def released_distance(codes: Tensor, buffer: Tensor) -> Tensor:
    """The same against a buffer ``[L, B, m]`` in which code i meets column i only: what the released code computes."""
    return (codes - buffer).square().mean(2).min(0).values


def push(buffer: Tensor, codes: Tensor) -> Tensor:
    """A first-in-first-out buffer ``[Q, m]`` after new codes ``[B, m]``: the oldest make room, the length stays."""
    return torch.cat([buffer, codes])[-len(buffer) :]


def released_push(buffer: Tensor, codes: Tensor) -> Tensor:
    """The released code's update of ``[L, B, m]``: drops B rows and appends one, so that the length shrinks to 1."""
    return torch.cat([buffer[len(codes) :], codes[None]])


def warm_up(progress: float, fraction: float) -> float:
    """The share of the entropy weight in force: linear over the first ``fraction`` of training, then 1."""
    return min(1.0, progress / fraction) if fraction else 1.0


class ManifoldEntropyGAN(GenerativeMethod):
    """Replay-buffer manifold entropy (RB-MaEM) with two regularizers of the code manifold, DLLE and DIsoMap.

    With codes t of real and f of generated images, buffers R of past codes, and sg the stop-gradient:

    - discriminator: mean f - mean t + dlle (MSE(t, sg D(F x)) + MSE(f, sg D(F x̃))) + iso MSE(D(x̂), v̂) + w_t L_ent(t; R_real),
      F a transform that keeps the content; x̂ = a x + (1 - a) x̃ and v̂ = sg[a t + (1 - a) f + noise], a drawn for each pair;
    - generator: -mean f + w_t L_ent(f; R_fake);
    - L_ent(v; R) = -log mean_i ρ_i, ρ_i the squared distance (over m) to the nearest code in R. w_t grows over a warm-up.

    Paper and released code differ. As named options: the entropy's form (``code``: log outside the mean; ``log_inside``:
    as in eq. 9; ``cosine``: eq. 8), and the buffer (``fifo``: as the paper describes it; ``released``: as the code has it,
    which shrinks to one batch). The squared-error forms of DLLE and DIsoMap are the released code's: eq. 14 is printed
    as a similarity. The paper's weights of 1 are for images of 32 x 32; on 8 x 8 digits, smaller ones serve.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Combating Mode Collapse in GANs via Manifold Entropy Estimation",
        "Liu, Li, Wu, Liang, Huang, Li, Ghanem, Zheng",
        2023,
        "AAAI",
        "2208.12055",
    )

    entropy_weight: float = weight(
        5e-4, off=0.0, ge=0, symbol="w", differentiable=True, help="entropy of the codes, both players"
    )
    dlle_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="λ_DLLE", differentiable=True, help="an image and its transform embed alike"
    )
    disomap_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="λ_iso", differentiable=True, help="mixtures embed as mixtures of codes"
    )
    code_norm_weight: float = weight(
        0.0, off=0.0, ge=0, symbol="λ", differentiable=True, help="norm of the codes, cosine form only"
    )
    entropy_form: Literal["code", "log_inside", "cosine"] = hyperparameter("code", help="which estimate of the entropy")
    buffer: Literal["fifo", "released"] = hyperparameter("fifo", help="replay buffer: the paper's, or the released code's")
    buffer_size: int = hyperparameter(1024, ge=2, help="codes in the replay buffer, Q")
    warmup_fraction: float = hyperparameter(
        100 / 1800, ge=0, le=1, help="share of training over which the entropy weight grows"
    )
    mixing_noise_std: float = hyperparameter(0.05, ge=0, help="noise on the codes of mixtures")
    mixing_distribution: Literal["normal", "uniform", "beta"] = hyperparameter(
        "normal", help="of the mixing coefficient a: N(0, 1), which extrapolates; U(0, 1); or Beta(½, ½)"
    )
    transform: Literal["shift", "flip"] = hyperparameter(
        "shift",
        help="F: a shift by at most one pixel, which keeps digits what they are, or the paper's flip along a random axis",
    )

    def build_memory(self, run: Run) -> dict[str, Tensor]:
        """Two buffers of codes, at first uniform in (-1, 1); in the released buffer, the same ones at all batch positions."""
        if self.buffer == "released" and run.world.size > 1:
            raise ConfigError("buffer 'released' ties codes to batch positions: use one worker, or buffer 'fifo'")
        stream = run.generator("buffer", run.device, shared=True)
        memory = {}
        for name in ("real", "fake"):
            codes = torch.rand(self.buffer_size, self.code_dim, generator=stream, device=run.device) * 2 - 1
            memory[name] = codes if self.buffer == "fifo" else codes[:, None].repeat(1, self.batch_size, 1)
        return memory

    def discriminator_objective(
        self, discriminator: Codes, real: Tensor, fake: Tensor, step: Step, weights: SimpleNamespace
    ) -> tuple[Tensor, Tensor]:
        """Realness, DLLE, DIsoMap and the entropy of real codes; a term whose weight is the number 0 costs nothing."""
        images = {"real": real, "fake": fake}
        local, mixed = not is_off(weights.dlle_weight), not is_off(weights.disomap_weight)
        if local:
            images |= {f"{name} transformed": self._transformed(x, name, step) for name, x in (("real", real), ("fake", fake))}
        if mixed:
            a = self._coefficients(len(real), step)
            images["mixed"] = a[:, None, None, None] * real + (1 - a)[:, None, None, None] * fake
        codes = dict(zip(images, embed(discriminator, images, step, self.code_dim), strict=True))
        t, f = codes["real"], codes["fake"]
        loss = f.mean() - t.mean()
        if local:
            alike = mse_loss(t, codes["real transformed"].detach()) + mse_loss(f, codes["fake transformed"].detach())
            loss = loss + weights.dlle_weight * alike
        if mixed:
            target = a[:, None] * t + (1 - a)[:, None] * f + self.mixing_noise_std * step.draw("mixing/noise", *t.shape)
            loss = loss + weights.disomap_weight * mse_loss(codes["mixed"], target.detach())
        return loss + self._entropy_term(t, step.memory["real"], step, weights), t

    def generator_objective(self, fake_codes: Tensor, step: Step, weights: SimpleNamespace) -> Tensor:
        """Realness and the entropy of generated codes."""
        return -fake_codes.mean() + self._entropy_term(fake_codes, step.memory["fake"], step, weights)

    def _entropy_term(self, codes: Tensor, buffer: Tensor, step: Step, weights: SimpleNamespace) -> Tensor | float:
        if is_off(weights.entropy_weight):
            return 0.0
        share = warm_up((step.iteration - 1) / step.iterations, self.warmup_fraction)
        return weights.entropy_weight * share * self.entropy_loss(codes, buffer, weights.code_norm_weight)

    def entropy_loss(self, codes: Tensor, buffer: Tensor, code_norm_weight: float | Tensor) -> Tensor:
        """Minus the entropy estimate of codes against a buffer, up to a constant; a scalar.

        Args:
            codes: ``[B, m]``.
            buffer: ``[Q, m]``, or ``[L, B, m]`` for the released buffer.
            code_norm_weight: λ of eq. 8, used by the cosine form.
        """
        if self.entropy_form == "cosine":
            pairs = cosine_similarity(codes, buffer[:, None] if self.buffer == "fifo" else buffer, dim=2)  # [Q, B]
            return (pairs.max(0).values + code_norm_weight * codes.norm(dim=1)).mean()
        distance = (nearest_distance if self.buffer == "fifo" else released_distance)(codes, buffer)
        if self.entropy_form == "code":
            distance = distance.mean()
        # Only a batch that repeats the buffer comes below the least normal number; there the gradient is 0.
        return -distance.clamp(min=torch.finfo(distance.dtype).tiny).log().mean()

    def remember_real(self, codes: Tensor, step: Step) -> None:
        """Pushes the real codes, after their distances were taken."""
        self._push("real", codes, step)

    def remember_fake(self, codes: Tensor, step: Step) -> None:
        """Pushes the generated codes, after their distances were taken."""
        self._push("fake", codes, step)

    def _push(self, name: str, codes: Tensor, step: Step) -> None:
        update = push if self.buffer == "fifo" else released_push
        step.memory[name] = update(step.memory[name], step.gather(codes))

    def _coefficients(self, count: int, step: Step) -> Tensor:
        """Mixing coefficients a ``[B]``."""
        normal = step.draw("mixing/coefficients", count)
        if self.mixing_distribution == "normal":
            return normal
        uniform = torch.special.ndtr(normal)
        # The quantile function of Beta(½, ½), the arcsine distribution, has a closed form.
        return uniform if self.mixing_distribution == "uniform" else torch.sin(0.5 * torch.pi * uniform).square()

    def _transformed(self, x: Tensor, use: str, step: Step) -> Tensor:
        """F(x): the same content in other pixels, ``[B, C, H, W]``."""
        stream = step.generator(f"transform/{use}")
        if self.transform == "flip":
            axis = 2 + int(torch.randint(2, (), generator=stream, device=x.device))
            return x.flip(axis) + 0.001 * step.draw(f"transform/{use}/noise", *x.shape)
        height, width = x.shape[2:]
        offset = torch.randint(3, (2, len(x), 1), generator=stream, device=x.device)
        rows = offset[0] + torch.arange(height, device=x.device)
        columns = offset[1] + torch.arange(width, device=x.device)
        framed = pad(x, (1, 1, 1, 1), value=-1.0)
        shifted = framed[torch.arange(len(x), device=x.device)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return shifted.permute(0, 3, 1, 2) + 0.05 * step.draw(f"transform/{use}/noise", *x.shape)
