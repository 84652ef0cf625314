"""The masked loss, the network's blindness to padding, the curriculum's controller and the sampler."""

import pytest
import torch
from scipy.stats import chisquare

from regbench.methods.clips.curriculum import (
    Control,
    Gains,
    Losses,
    control,
    curriculum_level,
    improvement,
    selected,
)
from regbench.methods.clips.diffusion import ddim_sample, diffuse, guided, masked_loss, signal_rates
from regbench.methods.clips.masks import catalogue
from regbench.methods.clips.networks import FrameNetwork
from regbench.methods.clips.task import fold, unfold
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import load


def clip(*values):
    """One clip of frames of one pixel."""
    return torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1, 1, 1)


def flags(*values):
    return torch.tensor([values], dtype=torch.bool)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_masked_loss_by_hand():
    predicted, target, valid = clip(1.5, 2, 1, 0), clip(1, 2, 3, 4), flags(1, 1, 1, 0)
    assert masked_loss(predicted, target, valid).item() == pytest.approx(1.416667, abs=1e-6)
    assert masked_loss(predicted, target, flags(1, 1, 1, 1)).item() == pytest.approx(5.0625)
    generated = (~flags(1, 0, 0, 0)).double()
    assert masked_loss(predicted, target, valid, generated).item() == pytest.approx(2.0)


def test_full_masks_are_the_mean_squared_error():
    predicted, target = random(3, 8, 2, 4, 4), random(3, 8, 2, 4, 4, seed=1)
    assert masked_loss(predicted, target, torch.ones(3, 8, dtype=torch.bool)).item() == pytest.approx(
        torch.nn.functional.mse_loss(predicted, target).item(), rel=1e-14
    )


def test_frames_of_short_clips_count_as_much_as_others():
    predicted, target = random(2, 8, 1, 2, 2), random(2, 8, 1, 2, 2, seed=1)
    valid = torch.arange(8) < torch.tensor([[2], [8]])
    errors = (predicted - target).square().mean((2, 3, 4))
    assert masked_loss(predicted, target, valid).item() == pytest.approx((errors[0, :2].sum() + errors[1].sum()).item() / 10)


def network(dtype=torch.float64):
    torch.manual_seed(0)
    found = FrameNetwork(4, 8, 2, 17).to(dtype)
    for parameter in found.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    return found


def test_what_is_in_padded_slots_changes_neither_loss_nor_gradients():
    model, valid = network(), torch.arange(8) < torch.tensor([[3], [5]])
    given = torch.zeros(2, 8, dtype=torch.bool)
    given[:, 0] = True
    captions, steps = torch.tensor([[1, 12], [3, 11]]), torch.tensor([10, 700])
    clean, noise = random(2, 8, 4, 4, 4), random(2, 8, 4, 4, 4, seed=1)
    found = []
    for filling in (0.0, 9.0, torch.nan):
        filled = [torch.where(valid[..., None, None, None], part, filling) for part in (clean, noise)]
        noisy = filled[0] + filled[1]
        loss = masked_loss(model(noisy, filled[0], given, valid, steps, captions), filled[1], valid)
        found.append([loss, *torch.autograd.grad(loss, [p for p in model.parameters() if p is not model.words.weight])])
    for other in found[1:]:
        for expected, value in zip(found[0], other, strict=True):
            assert torch.equal(expected, value)


def test_a_frame_that_is_not_given_is_seen_noisy_only():
    model, valid = network(), torch.ones(1, 8, dtype=torch.bool)
    given, captions, steps = torch.zeros(1, 8, dtype=torch.bool), torch.zeros(1, 2, dtype=torch.int64), torch.tensor([5])
    given[0, [0, 4]] = True
    noisy, clean = random(1, 8, 4, 4, 4), random(1, 8, 4, 4, 4, seed=1)
    other = torch.where(given[..., None, None, None], clean, random(1, 8, 4, 4, 4, seed=2))
    assert torch.equal(model(noisy, clean, given, valid, steps, captions), model(noisy, other, given, valid, steps, captions))
    changed = torch.where(given[..., None, None, None], other + 1, clean)
    assert not torch.allclose(
        model(noisy, clean, given, valid, steps, captions), model(noisy, changed, given, valid, steps, captions)
    )


def test_a_network_that_copies_given_frames_has_no_error_at_the_end():
    clean, noise = random(2, 8, 4, 4, 4), random(2, 8, 4, 4, 4, seed=1)
    rates = signal_rates("linear")
    noisy = diffuse(clean, noise, rates[:1].expand(2))
    copied = (noisy - rates[0].sqrt() * clean) / (1 - rates[0]).sqrt()
    assert torch.allclose(copied, noise, atol=1e-10)

    # So guided, DDIM gives the clean frames back exactly, from wherever it starts.
    def predict(z, steps):
        rate = rates[steps].reshape(-1, 1, 1, 1, 1)
        return (z - rate.sqrt() * clean) / (1 - rate).sqrt()

    made = ddim_sample(predict, noise, rates, 10, 1.0, torch.Generator().manual_seed(0))
    assert torch.allclose(made, clean, atol=1e-9)


def test_ddim_without_noise_is_its_ode_on_gaussian_data():
    # z₀ ~ N(0, 1): ε(z) = √(1 - ᾱ) z, and every z keeps its norm.
    rates, start = signal_rates("linear"), random(1, 8, 1, 2, 2)

    def predict(z, steps):
        return (1 - rates[steps]).sqrt().reshape(-1, 1, 1, 1, 1) * z

    gaps = [
        (ddim_sample(predict, start, rates, steps, 0.0, torch.Generator()) - start).abs().max() for steps in (50, 100, 1000)
    ]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.02


def test_guidance():
    nothing, images, both = random(3), random(3, seed=1), random(3, seed=2)
    assert torch.allclose(guided(nothing, images, both, 1.0, 1.0), both)
    assert torch.allclose(guided(nothing, images, both, 1.0, 0.0), images)
    assert torch.allclose(guided(nothing, images, both, 0.0, 0.0), nothing)


def test_schedules():
    for schedule, half, last in (("linear", 0.161812, 0.00157896), ("scaled_linear", 0.277670, 0.00466010)):
        rates = signal_rates(schedule)
        assert rates[499].item() == pytest.approx(half, abs=1e-6)
        assert rates[999].item() == pytest.approx(last, abs=1e-8)


def test_folding_loses_nothing():
    clips = random(2, 8, 1, 16, 16)
    assert fold(clips, 2).shape == (2, 8, 4, 8, 8)
    assert torch.equal(unfold(fold(clips, 2), 2), clips)


def test_controller_by_hand():
    state, outputs = Control(), []
    for error in (0.1, 0.05, -0.02, 0.0):
        output, state = control(state, error, Gains(5.0, 3.0, 1.3))
        outputs.append(output)
    assert outputs == pytest.approx([0.8, 0.635, 0.199, 0.416])


def test_the_sum_of_errors_is_kept_within_the_gains_reach():
    state = Control()
    for _ in range(100):
        output, state = control(state, 0.5, Gains(0.0, 3.0, 0.0))
    assert output == pytest.approx(1.0)
    for _ in range(100):
        output, state = control(state, -0.5, Gains(0.0, 3.0, 0.0))
    assert output == pytest.approx(-1.0)


def test_level_is_a_ramp_with_feedback():
    levels = [curriculum_level(progress / 10, 0.5, 0.1) for progress in range(11)]
    assert levels == pytest.approx([0.1, 0.28, 0.46, 0.64, 0.82, *[1.0] * 6])
    assert curriculum_level(0.0, 0.0, 0.1) == 1.0
    assert curriculum_level(0.9, 0.5, 0.1, -0.3) == pytest.approx(0.7)
    assert curriculum_level(0.0, 0.5, 0.1, -0.3) == 0.1


def test_constant_losses_give_no_error_and_falling_ones_a_positive_one():
    memory = Losses.fresh(3, torch.device("cpu"))
    averages = Losses(memory)
    assert averages.improvement() == 0.0
    rows = torch.tensor([0, 1, 2, 2])
    for _ in range(300):
        # Configurations of different difficulty, in changing mixtures, are no change.
        averages.add(torch.tensor([0.1, 1.0, 5.0, 5.0])[rows], rows)
        rows = (rows + 1) % 3
    assert averages.improvement() == pytest.approx(0.0, abs=1e-12)
    for number in range(30):
        averages.add(torch.full((4,), 0.1 * 0.97**number), torch.zeros(4, dtype=torch.int64))
    assert averages.improvement() > 0.05
    assert improvement(2.0, 1.5) == pytest.approx(0.25)


@pytest.mark.parametrize("selection", ["hard", "soft"])
def test_selection_prefers_what_is_easy(selection):
    found = catalogue(3, 8, (1.0, 1.0, 1.0))
    for level in (0.1, 0.3, 0.7):
        kept = selected(found.shares[2:], found.entropy, level, selection)
        assert torch.allclose(kept.sum(1), torch.ones(7, dtype=torch.float64))
        if selection == "hard":
            # Of every length there is something, no harder than the level or the easiest there is.
            easiest = torch.where(found.shares[2:] > 0, found.entropy, torch.inf).amin(1, keepdim=True)
            assert ((kept == 0) | (found.entropy <= easiest.clamp_min(level))).all()
    assert torch.allclose(selected(found.shares[2:], found.entropy, 1.0, selection), found.shares[2:])
    soft = selected(torch.full((2,), 0.5, dtype=torch.float64), torch.tensor([0.1, 0.35]), 0.3, "soft")
    assert (soft[1] / soft[0]).item() == pytest.approx(torch.tensor(-1.0).exp().item(), rel=1e-5)


def test_without_gains_and_ramp_all_configurations_are_drawn_alike():
    method = create("rdtf", {"batch_size": 1500}).baseline()
    run, found = Run("moving_digits"), method.build_catalogue()
    method_memory = method.build_memory(found, run)
    rows = torch.cat([method.draw(found, step, method_memory, run).rows for step in range(1, 7)])
    lengths = torch.bincount(load("moving_digits").train.tensors[1], minlength=9).double()
    expected = (lengths[:, None] * found.shares).sum(0) / lengths.sum()
    counts = torch.bincount(rows, minlength=len(expected)).double()
    assert counts[expected == 0].sum() == 0
    there = expected > 0
    assert chisquare(counts[there], expected[there] * len(rows)).pvalue > 1e-3


def test_no_masks_learns_from_complete_clips_alone():
    method, run = create("no_masks", {}), Run("moving_digits")
    found = method.build_catalogue()
    batch = method.draw(found, 1, {}, run)
    assert batch.valid.all()
    assert (batch.given.sum(1) <= 1).all()


def test_the_level_follows_ramp_and_controller():
    method = create("rdtf", {"iterations": 1000})
    run = Run("moving_digits")
    memory = method.build_memory(method.build_catalogue(), run)
    generator = torch.Generator().manual_seed(0)
    levels = {}
    for step in range(1, 201):
        rows = torch.randint(10, (8,), generator=generator)
        levels[step] = method.remember(torch.full((8,), 0.99**step), rows, step, memory)["level"]
    ramp = curriculum_level(199 / 1000, 0.5, 0.1)
    # While losses fall, the level is ahead of its ramp; at κ = 0 it is the ramp.
    assert levels[200] > ramp + 0.02
    assert method.replace(feedback_scale=0.0).level(200, memory) == pytest.approx(ramp)


def test_given_frames_of_generated_clips_are_those_given():
    method, run = create("no_masks", {"width": 8, "heads": 2, "sampling_steps": 2}), Run("moving_digits")
    clips, _, captions = (part[:3] for part in run.data.validation.tensors)
    model = network(torch.float32)
    made = method.generate(model, signal_rates("linear"), clips, captions, "prediction", run)
    assert made.shape == clips.shape
    assert torch.equal(made[:, :5], clips[:, :5])
    assert made.abs().max() <= 1
