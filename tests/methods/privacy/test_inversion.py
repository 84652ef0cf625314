"""The attacks: they find what can be found, leave the attacked model alone, and are the same for all who run them."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from regbench.methods import Run
from regbench.methods.privacy import networks
from regbench.methods.privacy.inversion import (
    ask,
    attackers_prior,
    hit_rate,
    invert_by_gradient,
    isolated,
    judge,
    learn_inversion,
)
from regbench.methods.privacy.task import TRACK
from regbench.methods.privacy.undefended import Undefended
from regbench.methods.privacy.uniform_mixing import UniformMixing
from regbench.methods.shared.data import load

SMALL = dict(TRACK.smoke)
CPU = torch.device("cpu")


def test_numbers_drawn_in_isolation_do_not_move_the_others():
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with isolated(5, CPU):
        inside = torch.rand(2)
    torch.testing.assert_close(torch.rand(2), expected)
    torch.manual_seed(5)
    torch.testing.assert_close(torch.rand(2), inside)


def test_asking_averages_fresh_answers():
    x = torch.rand(6, 1, 2, 2)
    torch.manual_seed(0)
    once, many = (ask(lambda images: images.flatten(1) + torch.randn(len(images), 4), x, queries) for queries in (1, 1000))
    assert (once - x.flatten(1)).abs().mean() > 0.3
    torch.testing.assert_close(many, x.flatten(1), atol=0.15, rtol=0)


def test_a_decoder_inverts_what_is_linear():
    """Answers that are an invertible linear map of 8 numbers behind an image give the image back."""
    torch.manual_seed(0)
    basis, mixing = torch.rand(8, 64), torch.randn(8, 8)
    hidden = torch.rand(900, 8).softmax(1)
    images = (hidden @ basis).view(-1, 1, 8, 8)
    solve = torch.linalg.pinv(basis) @ mixing
    attack = learn_inversion(lambda x: 100 * x.flatten(1) @ solve + 7, images[:600], "mlp", epochs=80)
    error = (attack(images[600:]) - images[600:]).square().mean()
    assert error < 0.05 * images[600:].var(0).mean()


def test_the_gradient_attack_descends_as_released():
    """Against Nesterov's method written out for one start, on a linear model and a linear generator."""
    torch.manual_seed(0)
    generator, critic = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)
    model = torch.nn.Linear(4, 2)
    labels = torch.tensor([0, 1, 1])
    torch.manual_seed(7)
    found = invert_by_gradient(model, (generator, critic), labels, 3, steps=4, restarts=1)
    torch.manual_seed(7)
    z, velocity = torch.randn(3, 3), torch.zeros(3, 3)
    for _ in range(4):
        z.requires_grad_()
        images = generator(z)
        total = -critic(images).sum() + 100 * cross_entropy(model(images), labels, reduction="sum")
        (slope,) = torch.autograd.grad(total / 100, z)
        new = 0.9 * velocity - 0.02 * slope
        z = (z.detach() - 0.9 * velocity + 1.9 * new).clamp(-1, 1)
        velocity = new
    torch.testing.assert_close(found, generator(z).detach())
    assert all(parameter.grad is None for net in (generator, critic, model) for parameter in net.parameters())


def test_the_best_of_several_starts_counts():
    torch.manual_seed(0)
    generator, critic, model = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1), torch.nn.Linear(4, 2)
    labels = torch.tensor([0, 1])
    torch.manual_seed(7)
    one = invert_by_gradient(model, (generator, critic), labels, 3, steps=0, restarts=1)
    torch.manual_seed(7)
    many = invert_by_gradient(model, (generator, critic), labels, 3, steps=0, restarts=50)
    scores = [model(images)[torch.arange(2), labels] for images in (one, many)]
    assert (scores[1] > scores[0]).all()


def trained():
    torch.manual_seed(0)
    data = load("private_digits")
    network = networks.Classifier("mlp", (1, 8, 8), 10)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    x, y = data.train.tensors
    for _ in range(150):
        optimizer.zero_grad()
        cross_entropy(network(x), y).backward()
        optimizer.step()
    optimizer.zero_grad()
    return data, network.eval()


def test_both_attacks_succeed_against_a_plain_network_and_leave_it_alone():
    data, network = trained()
    before = [parameter.clone() for parameter in network.parameters()]
    judging = judge(data, "mlp", 10, CPU)
    assert hit_rate(judging, *load("private_digits").test.tensors) > 0.93
    private, labels = data.train.tensors
    with isolated(0, CPU):
        found = learn_inversion(lambda x: ask(network, x, 1), data.auxiliary.tensors[0], "mlp", epochs=40)(private)
        prior = attackers_prior(data, "mlp", 32, 1500, CPU)
        wanted = torch.arange(20) % 10
        inverted = invert_by_gradient(network, prior, wanted, 32, steps=150, restarts=3)
    of_mean_image = (private - data.auxiliary.tensors[0].mean(0)).square().mean()
    assert of_mean_image.item() == pytest.approx(0.0729, abs=0.002)  # the card's
    assert (found - private).square().mean() < 0.5 * of_mean_image
    assert hit_rate(judging, found, labels) > 0.8
    assert hit_rate(judging, inverted, wanted) > 0.6
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in network.parameters())
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))


def test_the_first_run_and_later_ones_of_a_process_see_the_same_attacks():
    """The judge and the prior, kept by the process, are trained in isolation."""
    method = Undefended(**SMALL | {"epochs": 1})
    attackers_prior.cache_clear()
    judge.cache_clear()
    first, later = (list(method.train(Run("private_digits", test=True))) for _ in range(2))
    assert first == later


def test_the_score_is_the_better_attackers_error_less_the_lack_of_accuracy():
    (metrics,) = Undefended(**SMALL | {"epochs": 1}, accuracy_floor=0.99).train(Run("private_digits"))
    error = min(metrics["val/inversion_error"], metrics["val/averaged_inversion_error"])
    assert metrics["val/accuracy"] < 0.99
    assert metrics["val/protected_error"] == pytest.approx(error - (0.99 - metrics["val/accuracy"]))


# Mixing with the uniform distribution


def test_mixed_answers_and_what_undoes_them():
    torch.manual_seed(0)
    logits = 3 * torch.randn(50, 10)
    method = UniformMixing(share=0.7)
    answers = method.answer(lambda x: x, logits)
    p = np.exp(logits.double().numpy())
    p /= p.sum(1, keepdims=True)
    np.testing.assert_allclose(answers.exp().numpy(), 0.3 * p + 0.07, rtol=1e-5)
    assert torch.equal(answers.argmax(1), logits.argmax(1))
    large = p > 1e-5  # the others are rounded away
    np.testing.assert_allclose(method.undo(answers).numpy()[large], np.log(p)[large], atol=0.01)


def test_mixing_nothing_changes_no_curve():
    assert list(UniformMixing(**SMALL, share=0.0).train(Run("private_digits"))) == list(
        Undefended(**SMALL).train(Run("private_digits"))
    )


def test_mixing_does_not_protect_from_who_knows_it():
    settings = {"epochs": 30, "report_every": 30, "decoder_epochs": 40, "prior_steps": 10, "judge_epochs": 2, "attack_steps": 2}
    found = [list(method(**settings).train(Run("private_digits")))[-1] for method in (Undefended, UniformMixing)]
    assert found[0]["val/accuracy"] == found[1]["val/accuracy"]
    assert found[1]["val/inversion_error"] < 1.3 * found[0]["val/inversion_error"]


# Networks


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 32, 32)])
def test_convolutional_attackers_fit_images(shape):
    x = torch.rand(2, *shape)
    assert networks.decoder("cnn", 7, shape)(torch.randn(2, 7)).shape == x.shape
    assert networks.generator("cnn", 5, shape)(torch.randn(2, 5)).shape == x.shape
    assert networks.critic("cnn", shape)(x).shape == (2, 1)


def test_vgg16_has_its_size():
    """Its convolutions hold 14.71 million weights; 64 x 64 images leave 2,048 features, the card's."""
    network, width = networks.features("vgg16_bn", (3, 64, 64), 1000)
    weights = sum(layer.weight.numel() for layer in network.modules() if isinstance(layer, torch.nn.Conv2d))
    assert weights == pytest.approx(14.71e6, rel=1e-3)
    assert width == 2048
    assert math.prod(network(torch.rand(2, 3, 64, 64)).shape[1:]) == width
