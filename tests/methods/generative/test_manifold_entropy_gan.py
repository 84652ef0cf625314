import io
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.spatial import cKDTree
from torch.autograd import gradcheck

from regbench.methods import Run
from regbench.methods.errors import ConfigError
from regbench.methods.generative.manifold_entropy_gan import (
    ManifoldEntropyGAN,
    nearest_distance,
    push,
    released_distance,
    released_push,
    warm_up,
)
from regbench.methods.generative.nonsaturating_gan import NonSaturatingGAN
from regbench.methods.generative.task import TRACK, Step
from regbench.methods.generative.wgan import WassersteinGAN
from regbench.methods.registry import create, tracks
from regbench.methods.shared.data import load
from regbench.search_spaces.ranges import extremes, space

SMOKE = {"iterations": 12, "report_every": 6}
# Forms other than the default one, which the contract examines.
FORMS = [
    ManifoldEntropyGAN(**SMOKE, buffer="released", transform="flip", mixing_distribution="beta", learning_rate_decay=0.9),
    ManifoldEntropyGAN(**SMOKE, entropy_form="cosine", code_norm_weight=0.1, warmup_fraction=0.0),
]
OFF = SimpleNamespace(entropy_weight=0.0, dlle_weight=0.0, disomap_weight=0.0, code_norm_weight=0.0)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


CODES = tensor([[1.0, 0.0], [0.0, 2.0]])
BUFFER = tensor([[0.0, 0.0], [1.0, 1.0], [-1.0, 2.0]])
REAL, FAKE = tensor([[1.0, 2.0], [3.0, 4.0]]), tensor([[0.0, 1.0], [2.0, -1.0]])


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def images(rows):
    """Codes as images of one row."""
    return rows[:, None, None, :]


def weights(**values):
    return SimpleNamespace(**vars(OFF) | values)


def step(draws=None, iteration=1, iterations=100):
    """An iteration whose noise is zero, except for the given draws."""
    generators: dict[str, torch.Generator] = {}
    return Step(
        iteration,
        iterations,
        {"real": BUFFER, "fake": BUFFER},
        lambda use, *shape: (draws or {}).get(use, torch.zeros(shape, dtype=torch.float64)),
        lambda use: generators.setdefault(use, torch.Generator().manual_seed(0)),
        lambda x: x,
    )


class Recorded:
    """A discriminator without noise, built from a function of image rows, which keeps the groups of images that it saw."""

    def __init__(self, function=lambda rows: rows):
        self.function, self.seen = function, None

    def __call__(self, x, noise):
        self.seen = x
        return self.function(x.flatten(1))


def curve(method, **options):
    return list(method.train(Run("digit_images", **options)))


def final_state(method, **options):
    run = Run("digit_images", **options)
    list(method.train(run))
    return run.state()["state"]


# Entropy of codes


def test_entropy_by_hand():
    codes = CODES.clone().requires_grad_()
    assert nearest_distance(codes, BUFFER).tolist() == [0.5, 0.5]
    loss = ManifoldEntropyGAN().entropy_loss(codes, BUFFER, 0.0)
    assert loss.item() == pytest.approx(0.693147, abs=1e-6)
    loss.backward()
    torch.testing.assert_close(codes.grad, tensor([[-1.0, 0.0], [-1.0, 0.0]]))


@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_cosine_form_by_hand(lam):
    buffer = tensor([[1.0, 1.0], [-1.0, 2.0], [2.0, -1.0]])
    loss = ManifoldEntropyGAN(entropy_form="cosine").entropy_loss(CODES, buffer, lam)
    assert loss.item() == pytest.approx(0.894427 + 1.5 * lam, abs=1e-6)


@pytest.mark.parametrize("count", [1, 50])
def test_nearest_distance_equals_a_search_tree(count):
    codes, buffer = random(30, 4), random(count, 4, seed=1)
    expected = cKDTree(buffer.numpy()).query(codes.numpy())[0] ** 2 / 4
    np.testing.assert_allclose(nearest_distance(codes, buffer).numpy(), expected, atol=1e-12)
    inside = ManifoldEntropyGAN(entropy_form="log_inside").entropy_loss(codes, buffer, 0.0)
    assert inside.item() == pytest.approx(-np.log(expected).mean())


@pytest.mark.parametrize("form", ["code", "log_inside"])
def test_entropy_follows_scale_and_ignores_order_and_place(form):
    method, codes, buffer = ManifoldEntropyGAN(entropy_form=form), random(6, 3), random(20, 3, seed=1)

    def loss(codes, buffer):
        return method.entropy_loss(codes, buffer, 0.0).item()

    plain = loss(codes, buffer)
    assert loss(3 * codes, 3 * buffer) - plain == pytest.approx(-2.197225, abs=1e-6)
    assert loss(codes, buffer.flip(0)) == pytest.approx(plain, abs=1e-12)
    assert loss(codes + 7, buffer + 7) == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize("form", ["code", "log_inside", "cosine"])
@pytest.mark.parametrize("buffer", ["fifo", "released"])
def test_entropy_gradient_matches_finite_differences(form, buffer):
    method = ManifoldEntropyGAN(entropy_form=form, buffer=buffer)
    past = random(9, 3, seed=1) if buffer == "fifo" else random(9, 5, 3, seed=1)
    lam = tensor(0.3).requires_grad_(form == "cosine")
    assert gradcheck(lambda codes, lam: method.entropy_loss(codes, past, lam), (random(5, 3).requires_grad_(), lam))


@pytest.mark.parametrize("form", ["code", "log_inside", "cosine"])
def test_repeated_codes_have_finite_loss_and_gradient(form):
    codes = CODES.clone().requires_grad_()
    loss = ManifoldEntropyGAN(entropy_form=form).entropy_loss(codes, CODES, 0.0)
    loss.backward()
    assert loss.isfinite()
    assert codes.grad.isfinite().all()


@pytest.mark.parametrize("form", ["code", "log_inside"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_codes_close_to_the_buffer_have_the_loss_of_their_distance(form, dtype):
    """At ρ = 1e-12, a constant of 1e-12 inside the logarithm would move the loss by log 2."""
    codes = torch.full((2, 4), 1e-6, dtype=dtype, requires_grad=True)
    loss = ManifoldEntropyGAN(entropy_form=form).entropy_loss(codes, torch.zeros(3, 4, dtype=dtype), 0.0)
    loss.backward()
    assert loss.item() == pytest.approx(12 * math.log(10), rel=1e-6)
    torch.testing.assert_close(codes.grad, torch.full_like(codes, -1e6 / 4))


# Buffers


def test_buffer_is_first_in_first_out():
    stream = torch.arange(60.0).reshape(20, 3)
    buffer = stream[:7]
    for start in range(7, 19, 4):
        buffer = push(buffer, stream[start : start + 4])
        assert torch.equal(buffer, stream[start - 3 : start + 4])
    assert torch.equal(push(buffer[:2], stream[:5]), stream[3:5])


@pytest.mark.parametrize(
    ("count", "lengths"), [(64, [961, 898, 835, *range(772, 15, -63), 1, 1, 1]), (256, [769, 514, 259, 4, 1, 1])]
)
def test_released_buffer_shrinks_to_one(count, lengths):
    buffer, found = torch.zeros(1024, count, 2), []
    for value in range(len(lengths)):
        buffer = released_push(buffer, torch.full((count, 2), float(value)))
        found.append(len(buffer))
    assert found == lengths
    assert (buffer == value).all()


def test_released_buffer_compares_positions_only():
    codes, buffer = random(5, 3), random(8, 5, 3, seed=1)
    expected = [((codes[i] - buffer[:, i]) ** 2).mean(1).min().item() for i in range(5)]
    assert released_distance(codes, buffer).tolist() == pytest.approx(expected)
    cosines = [
        max(float(codes[i] @ row / codes[i].norm() / row.norm()) for row in buffer[:, i]) for i in range(5)
    ]  # no code meets the column of another
    method = ManifoldEntropyGAN(buffer="released", entropy_form="cosine")
    assert method.entropy_loss(codes, buffer, 0.0).item() == pytest.approx(np.mean(cosines))


def test_buffers_start_uniform_and_the_released_one_alike_at_all_positions():
    fifo = ManifoldEntropyGAN().build_memory(Run("digit_images"))
    released = ManifoldEntropyGAN(buffer="released", batch_size=8).build_memory(Run("digit_images"))
    for name, codes in fifo.items():
        assert codes.shape == (1024, 16)
        assert -1 <= codes.min() < -0.99 < 0.99 < codes.max() < 1
        assert codes.var().item() == pytest.approx(1 / 3, abs=0.01)
        assert torch.equal(released[name], codes[:, None].expand(-1, 8, -1))
    assert not torch.equal(fifo["real"], fifo["fake"])


def test_released_buffer_needs_one_worker():
    class Pair:
        rank, size = 0, 2

    with pytest.raises(ConfigError, match="fifo"):
        ManifoldEntropyGAN(buffer="released").build_memory(Run("digit_images", world=Pair()))


def test_training_fills_the_buffers_with_detached_codes():
    # 12 discriminator and 4 generator steps of 8 codes fill 32 places.
    memory = final_state(ManifoldEntropyGAN(**SMOKE, buffer_size=32, batch_size=8))["memory"]
    start = ManifoldEntropyGAN(buffer_size=32, batch_size=8).build_memory(Run("digit_images"))
    for name, codes in memory.items():
        assert codes.shape == (32, 16)
        assert not codes.requires_grad
        assert not torch.isin(codes, start[name]).any()
    memory = final_state(ManifoldEntropyGAN(**SMOKE, buffer="released", buffer_size=128))["memory"]
    assert {len(codes) for codes in memory.values()} == {1}


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0), (1, 5e-6), (50, 2.5e-4), (100, 5e-4), (200, 5e-4)])
def test_warm_up_by_hand(epoch, expected):
    assert 5e-4 * warm_up(epoch / 1800, 100 / 1800) == pytest.approx(expected)
    assert warm_up(epoch / 1800, 0.0) == 1


def test_entropy_grows_over_the_warm_up():
    method = ManifoldEntropyGAN(warmup_fraction=0.2)
    for iteration, share in [(1, 0), (6, 0.25), (11, 0.5), (21, 1), (100, 1)]:
        at = step(iteration=iteration)
        loss = method.generator_objective(CODES, at, weights(entropy_weight=0.5))
        assert loss.item() == pytest.approx(-0.75 + 0.5 * share * math.log(2))
        loss, _ = method.discriminator_objective(Recorded(), images(CODES), images(CODES), at, weights(entropy_weight=0.5))
        assert loss.item() == pytest.approx(0.5 * share * math.log(2))


# Objectives


@pytest.mark.parametrize("method", [WassersteinGAN(), ManifoldEntropyGAN()], ids=repr)
def test_realness_by_hand(method):
    loss, codes = method.discriminator_objective(Recorded(), images(REAL), images(FAKE), step(), OFF)
    assert loss.item() == -2
    assert torch.equal(codes, REAL)
    assert method.generator_objective(FAKE, step(), OFF).item() == -0.5


def test_nonsaturating_losses_by_hand():
    method = NonSaturatingGAN()
    loss, _ = method.discriminator_objective(Recorded(), images(REAL[:, :1]), images(FAKE[:, :1]), step(), OFF)
    real, fake = [1.0, 3.0], [0.0, 2.0]
    sigmoid = [[1 / (1 + math.exp(-x)) for x in row] for row in (real, fake)]
    expected = -np.mean(np.log(sigmoid[0])) - np.mean(np.log(1 - np.array(sigmoid[1])))
    assert loss.item() == pytest.approx(expected)
    assert method.generator_objective(FAKE[:, :1], step(), OFF).item() == pytest.approx(-np.mean(np.log(sigmoid[1])))


def test_mixtures_by_hand():
    discriminator = Recorded()
    at = step({"mixing/coefficients": tensor([0.25, 1.5])})
    loss, _ = ManifoldEntropyGAN().discriminator_objective(
        discriminator, images(REAL), images(FAKE), at, weights(disomap_weight=1.0)
    )
    torch.testing.assert_close(discriminator.seen[4:].flatten(1), tensor([[0.25, 1.25], [3.5, 6.5]]))
    assert loss.item() == pytest.approx(-2, abs=1e-12)


def test_linear_discriminator_maps_mixtures_to_mixtures():
    matrix = random(6, 4)
    real, fake = random(8, 6, seed=1), random(8, 6, seed=2)
    at = step({"mixing/coefficients": 10 * random(8, seed=3)})
    loss, t = ManifoldEntropyGAN().discriminator_objective(
        Recorded(lambda rows: rows @ matrix), images(real), images(fake), at, weights(disomap_weight=1e6)
    )
    assert loss.item() == pytest.approx(((fake @ matrix).mean() - t.mean()).item(), abs=1e-12 * 1e6)


def test_mixing_noise_is_on_the_target():
    noise = random(2, 2)
    at = step({"mixing/noise": noise})
    loss, _ = ManifoldEntropyGAN().discriminator_objective(
        Recorded(), images(REAL), images(FAKE), at, weights(disomap_weight=1.0)
    )
    assert loss.item() == pytest.approx(-2 + 0.05**2 * noise.square().mean().item())


@pytest.mark.parametrize(("transform", "size"), [("shift", 6), ("flip", 8)])
def test_discriminator_that_ignores_the_transform_has_no_loss(transform, size):
    # The sum over pixels does not see flips, nor shifts of what has an empty border.
    real, fake = (torch.full((5, 1, 8, 8), -1.0).double() for _ in range(2))
    border = (8 - size) // 2
    for x, seed in ((real, 0), (fake, 1)):
        x[:, :, border : 8 - border, border : 8 - border] = random(5, 1, size, size, seed=seed)
    discriminator = Recorded(lambda rows: rows.sum(1, keepdim=True))
    loss, t = ManifoldEntropyGAN(transform=transform).discriminator_objective(
        discriminator, real, fake, step(), weights(dlle_weight=1.0)
    )
    assert not torch.equal(discriminator.seen[10:15], real)
    assert loss.item() == pytest.approx((fake.sum() / 5 - t.mean()).item(), abs=1e-9)


def test_targets_receive_no_gradient():
    """With codes θx² only the branch without stop-gradient may be differentiated in θ."""
    theta = tensor(0.7).requires_grad_()
    real, fake = random(4, 1, 8, 8), random(4, 1, 8, 8, seed=1)
    discriminator = Recorded(lambda rows: theta * rows.square())
    at = step({"mixing/coefficients": random(4, seed=2)})
    loss, _ = ManifoldEntropyGAN().discriminator_objective(
        discriminator, real, fake, at, weights(dlle_weight=0.5, disomap_weight=2.0)
    )
    loss.backward()
    t, f, changed_t, changed_f, mixed = discriminator.seen.detach().flatten(1).square().split(4)
    a = random(4, seed=2)[:, None]
    expected = (f - t).mean()
    expected += 0.5 * 2 * 0.7 * (((t - changed_t) * t).mean() + ((f - changed_f) * f).mean())
    expected += 2.0 * 2 * 0.7 * ((mixed - a * t - (1 - a) * f) * mixed).mean()
    assert theta.grad.item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("distribution", "mean", "variance"), [("normal", 0, 1), ("uniform", 0.5, 1 / 12), ("beta", 0.5, 1 / 8)]
)
def test_moments_of_mixing_coefficients(distribution, mean, variance):
    count = 40000
    discriminator = Recorded()
    at = step({"mixing/coefficients": random(count)})
    ones = torch.ones(count, 1, 1, 1).double()
    ManifoldEntropyGAN(mixing_distribution=distribution).discriminator_objective(
        discriminator, ones, 0 * ones, at, weights(disomap_weight=1.0)
    )
    a = discriminator.seen[2 * count :].flatten()
    assert a.mean().item() == pytest.approx(mean, abs=0.02)
    assert a.var().item() == pytest.approx(variance, rel=0.03)
    if distribution != "normal":
        assert 0 <= a.min() < 0.001 < 0.999 < a.max() <= 1
        quantile = a.quantile(0.25).item()  # ¼ for U(0, 1), sin²(π/8) for Beta(½, ½)
        assert quantile == pytest.approx(0.25 if distribution == "uniform" else math.sin(math.pi / 8) ** 2, abs=0.01)


def transformed(method, x, noise=None):
    discriminator = Recorded()
    at = step({} if noise is None else {"transform/real/noise": noise})
    method.discriminator_objective(discriminator, x, x.flip(0), at, weights(dlle_weight=1.0))
    return discriminator.seen[2 * len(x) : 3 * len(x)]


def test_shift_moves_digits_by_at_most_one_pixel():
    x = load("digit_images").train.tensors[0][:300].double()
    found = transformed(ManifoldEntropyGAN(), x)
    framed = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    candidates = {(i, j): framed[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)}
    assert np.array_equal(candidates[1, 1], x.numpy())
    matches = {place: (moved == found.numpy()).all((1, 2, 3)) for place, moved in candidates.items()}
    assert np.any(list(matches.values()), axis=0).all()
    assert all(0.05 < match.mean() < 0.25 for match in matches.values())
    noise = random(*x.shape)
    torch.testing.assert_close(transformed(ManifoldEntropyGAN(), x, noise), found + 0.05 * noise)


def test_flip_mirrors_a_batch_along_one_axis():
    x = random(10, 1, 8, 8)
    found = transformed(ManifoldEntropyGAN(transform="flip"), x)
    assert torch.equal(found, x.flip(2)) or torch.equal(found, x.flip(3))
    noise = random(*x.shape, seed=1)
    torch.testing.assert_close(transformed(ManifoldEntropyGAN(transform="flip"), x, noise), found + 0.001 * noise)


# Training


@pytest.mark.parametrize("method", FORMS, ids=repr)
def test_weights_off_is_the_baseline(method):
    settings = {name: getattr(method, name) for name in WassersteinGAN.model_fields}
    assert curve(method.baseline(), test=True) == curve(WassersteinGAN(**settings), test=True)


def test_every_weight_alone_changes_training():
    off = ManifoldEntropyGAN(iterations=6, report_every=6).baseline()
    plain = curve(off)[-1]["val/frechet"]
    for name in ("entropy_weight", "dlle_weight", "disomap_weight"):
        assert curve(off.replace(**{name: 0.5}))[-1]["val/frechet"] != plain


@pytest.mark.parametrize("settings", [{}, {"entropy_weight": 0.1}], ids=repr)
def test_generator_step_leaves_the_discriminator_unchanged(settings):
    # The same two discriminator steps, with and without a generator step after them.
    states = [
        final_state(ManifoldEntropyGAN(iterations=2, report_every=2, discriminator_steps=steps, **settings)) for steps in (2, 3)
    ]
    for name, value in states[0]["discriminator"].items():
        if name.endswith("original") or name.endswith("bias"):
            assert torch.equal(value, states[1]["discriminator"][name])
    assert not torch.equal(states[0]["generator"]["0.weight"], states[1]["generator"]["0.weight"])
    assert states[1]["generator_optimizer"]["state"] == {}


def test_discriminator_steps_leave_the_generator_unchanged():
    states = [final_state(ManifoldEntropyGAN(iterations=count, report_every=count, discriminator_steps=9)) for count in (1, 5)]
    for name in ("0.weight", "4.weight", "7.weight"):
        assert torch.equal(states[0]["generator"][name], states[1]["generator"][name])


def test_entropy_moves_generated_codes_apart():
    """More entropy weight, larger distances of codes to the buffer of generated codes; on average, for one seed varies."""

    def distance(weight, seed):
        method = ManifoldEntropyGAN(
            iterations=30, report_every=30, batch_size=16, buffer_size=160, warmup_fraction=0, entropy_weight=weight
        )
        fake = final_state(method, seed=seed)["memory"]["fake"]
        return nearest_distance(fake[-16:], fake[:-16]).mean().item()

    assert sum(distance(1.0, seed) for seed in range(3)) > 2 * sum(distance(0.0, seed) for seed in range(3))


def test_learning_rate_falls_by_a_tenth_after_each_thirty_sixth():
    method = WassersteinGAN(iterations=36, report_every=36, learning_rate=0.01, learning_rate_decay=0.9)
    state = final_state(method)
    for name in ("generator_optimizer", "discriminator_optimizer"):
        assert state[name]["param_groups"][0]["lr"] == pytest.approx(0.01 * 0.9**35)
    assert final_state(WassersteinGAN(**SMOKE))["generator_optimizer"]["param_groups"][0]["lr"] == 2e-3


def test_a_generator_that_diverged_is_not_a_number():
    metrics = curve(WassersteinGAN(**SMOKE, learning_rate=1e30))[-1]
    assert all(math.isnan(metrics[metric.validation]) for metric in TRACK.metrics)


@pytest.mark.parametrize("method", FORMS, ids=repr)
def test_interrupted_run_continues_as_if_never_stopped(method):
    whole = curve(method, seed=3, test=True)
    run = Run("digit_images", seed=3, test=True)
    first = list(itertools.islice(method.train(run), 1))
    buffer = io.BytesIO()
    torch.save(run.state(), buffer)
    buffer.seek(0)
    assert first + curve(method, seed=3, test=True, checkpoint=torch.load(buffer, weights_only=True)) == whole


def test_track_is_found_with_its_baseline():
    assert tracks()["generative"] is TRACK
    assert create(TRACK.baseline, {}) == WassersteinGAN()


@pytest.mark.parametrize("method", [WassersteinGAN, NonSaturatingGAN, ManifoldEntropyGAN])
def test_search_space_covers_every_weight_of_the_default_form(method):
    ranges = space(method.slug)
    assert set(method.weights()) - {"code_norm_weight"} <= set(ranges) <= set(method.model_fields)
    for name, limits in ranges.items():
        default = method.model_fields[name].default
        assert limits._contains(limits.to_internal_repr(default))
        for value in extremes(limits):
            assert getattr(create(method.slug, {name: value}), name) == value


@pytest.mark.parametrize(
    "settings",
    [{"entropy_weight": -1}, {"buffer": "lifo"}, {"buffer_size": 1}, {"warmup_fraction": 1.1}, {"learning_rate": 0}],
    ids=repr,
)
def test_values_out_of_range_are_refused(settings):
    with pytest.raises(ValidationError):
        ManifoldEntropyGAN(**settings)
    with pytest.raises(ValidationError):
        NonSaturatingGAN(code_dim=2)
