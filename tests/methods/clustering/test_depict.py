"""DEPICT's targets, objective, network and stages against figures computed by hand, NumPy and identities."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from regbench.methods.clustering.autoencoder import Autoencoder, reconstruction_loss
from regbench.methods.clustering.depict import (
    Batch,
    Depict,
    Found,
    MultinomialClusterer,
    balanced_targets,
    regularized_divergence,
    released_targets,
)
from regbench.methods.errors import ConfigError
from regbench.methods.run import Run
from regbench.methods.shared.data import load

P = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.8, 0.1, 0.1]]
PAPER = [
    [0.547656, 0.301563, 0.150781],
    [0.437669, 0.421748, 0.140583],
    [0.341618, 0.131676, 0.526706],
    [0.674849, 0.162575, 0.162575],
]
RELEASED = [
    [0.725159, 0.219873, 0.054968],
    [0.492187, 0.457031, 0.050781],
    [0.283630, 0.042139, 0.674230],
    [0.896, 0.052, 0.052],
]
SMALL = {"channels": 4, "learning_rate": 3e-3, "restarts": 2, "batch_size": 200}


def tensor(values=P, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def exact_targets(p, balance=1.0, steps=2000):
    """The minimizer of the regularized divergence: the fixed point of q ∝ p / f(Q)^γ, by damped iteration."""
    q = p.clone()
    for _ in range(steps):
        new = p / q.mean(0) ** balance
        q = 0.7 * q + 0.3 * new / new.sum(1, keepdim=True)
    return q


# Targets


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_targets_of_four_rows(dtype):
    log_p = tensor(dtype=dtype).log()
    torch.testing.assert_close(balanced_targets(log_p, 1.0), tensor(PAPER, dtype), atol=2e-6, rtol=0)
    torch.testing.assert_close(released_targets(log_p), tensor(RELEASED, dtype), atol=2e-6, rtol=0)


def test_the_closed_form_nearly_minimizes_the_objective_and_the_released_target_does_not():
    p = tensor()
    exact = exact_targets(p)
    torch.testing.assert_close(exact[0], tensor([0.543422, 0.302314, 0.154264]), atol=1e-6, rtol=0)
    values = [
        regularized_divergence(q, p, 1.0).item() for q in (p, balanced_targets(p.log(), 1.0), exact, released_targets(p.log()))
    ]
    assert values == pytest.approx([0.208564, 0.109056, 0.108928, 0.213396], abs=1e-6)
    random = torch.distributions.Dirichlet(torch.ones(3, dtype=torch.float64)).sample((200, 4))
    assert min(regularized_divergence(q, p, 1.0).item() for q in random) > values[2]


def test_frequencies_come_nearer_to_the_prior():
    p = tensor()
    for q, expected in ((p, 0.208564), (balanced_targets(p.log(), 1.0), 0.059288)):
        apart = regularized_divergence(q, p, 1.0) - regularized_divergence(q, p, 0.0)
        assert apart.item() == pytest.approx(expected, abs=1e-6)


def test_balanced_columns_stay_with_the_paper_and_sharpen_in_the_code():
    p = tensor([[0.9, 0.1], [0.1, 0.9]])
    torch.testing.assert_close(balanced_targets(p.log(), 1.0), p)
    torch.testing.assert_close(released_targets(p.log())[0], tensor([0.987805, 0.012195]), atol=1e-6, rtol=0)


def test_the_family_between_p_and_the_released_targets():
    p = tensor()
    torch.testing.assert_close(balanced_targets(p.log(), 0.0), p)
    torch.testing.assert_close(balanced_targets(p.log(), 1e12, power=2.0), released_targets(p.log()))
    prior = tensor([0.5, 0.3, 0.2])
    weighted = p * (prior / p.sum(0)) ** (3 / 4)
    torch.testing.assert_close(balanced_targets(p.log(), 3.0, prior), weighted / weighted.sum(1, keepdim=True))
    order = [2, 0, 1]
    torch.testing.assert_close(balanced_targets(p.log()[:, order], 1.0), balanced_targets(p.log(), 1.0)[:, order])


def test_an_empty_cluster_and_sure_rows_give_numbers():
    log_p = torch.tensor([[0.0, -200.0, -torch.inf], [-300.0, 0.0, -torch.inf]])
    for q in (balanced_targets(log_p, 1.0), released_targets(log_p), balanced_targets(log_p, 5.0)):
        assert q.isfinite().all()
        torch.testing.assert_close(q.sum(1), torch.ones(2))
    sure = tensor([[1.0, 0.0], [0.0, 1.0]])
    assert regularized_divergence(sure, sure, 1.0).item() == 0


# The objective and the network


def test_the_objective_by_hand_and_its_gradient_in_the_logits():
    x = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).tanh()
    network = Autoencoder("paper", (1, 8, 8), 3, 3, 0.0).double()
    logits = tensor().log().requires_grad_()
    batch = Batch(x, tensor(PAPER))
    weights = SimpleNamespace(clustering_weight=2.0, reconstruction_weight=0.5, hidden_reconstruction_weight=0.1)
    pathways = network(x)
    loss, _ = Depict().objective(lambda _: Found(logits, pathways), batch, weights)
    inner = sum(
        ((one - other) ** 2).flatten(1).mean(1).mean()
        for one, other in ((pathways.first, pathways.clean_first), (pathways.second, pathways.clean_second))
    )
    expected = 2 * 1.001199 + 0.5 * (((pathways.image - x) ** 2).mean() + 0.1 * inner)
    assert loss.item() == pytest.approx(expected.item(), abs=5e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, 2 * (tensor() - tensor(PAPER)) / 4, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("architecture", "side"), [("paper", 8), ("paper", 14), ("paper", 16), ("paper", 28), ("small", 8), ("small", 12)]
)
def test_the_decoder_leads_back_through_the_same_sizes(architecture, side):
    network = Autoencoder(architecture, (1, side, side), 2, 5, 0.1)
    found = network(torch.zeros(3, 1, side, side))
    assert found.image.shape == (3, 1, side, side)
    assert found.embedding.shape == (3, 5)
    assert found.first.shape == found.clean_first.shape
    assert found.second.shape == found.clean_second.shape
    if side == 28:
        assert found.first.shape[2:] == (13, 13)
        assert found.second.shape[2:] == (7, 7)


def test_the_network_is_its_layers_one_after_the_other():
    torch.manual_seed(0)
    network, x = Autoencoder("paper", (1, 16, 16), 3, 4, 0.0), torch.rand(2, 1, 16, 16) * 2 - 1
    leaky = nn.LeakyReLU(0.01)
    encoder = network.encoder
    first = leaky(nn.functional.conv2d(x, encoder.first.weight, encoder.first.bias, stride=2))
    second = leaky(nn.functional.conv2d(first, encoder.second.weight, encoder.second.bias, stride=2, padding=2))
    embedding = torch.tanh(second.flatten(1) @ encoder.dense.weight.T + encoder.dense.bias)
    back = leaky(embedding @ network.dense.weight.T + network.dense.bias).view(second.shape)
    up = leaky(nn.functional.conv_transpose2d(back, network.second.weight, network.second.bias, stride=2, padding=2))
    image = torch.tanh(nn.functional.conv_transpose2d(up, network.first.weight, network.first.bias, stride=2))
    found = network(x)
    for one, other in zip(
        (embedding, image, up, back, first, second),
        (found.embedding, found.image, found.first, found.second, found.clean_first, found.clean_second),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_noise_corrupts_one_pathway_in_training_alone():
    torch.manual_seed(0)
    network, x = Autoencoder("paper", (1, 8, 8), 4, 3, 0.4), torch.rand(5, 1, 8, 8)
    noisy, clean = network(x), network.eval()(x)
    assert torch.equal(noisy.clean_first, clean.clean_first)
    assert torch.equal(clean.embedding, network.encoder(x))
    assert not torch.allclose(noisy.embedding, clean.embedding)
    quiet = Autoencoder("paper", (1, 8, 8), 4, 3, 0.0)
    assert torch.equal(quiet(x).embedding, quiet.encoder(x))


def test_inner_layers_learn_from_both_sides():
    """The clean layers that are reconstructed have a gradient, as in the released code."""
    network, x = Autoencoder("paper", (1, 8, 8), 2, 3, 0.0), torch.rand(5, 1, 8, 8)
    found = network(x)
    found.clean_second.retain_grad()
    reconstruction_loss(x, found, 1.0).backward()
    expected = 2 * (found.clean_second - found.second) / found.second.numel()
    torch.testing.assert_close(found.clean_second.grad, expected.detach())


# Stages


def trained(method, data="digits_clusters"):
    run = Run(data)
    return list(method.train(run)), run


def test_stages_end_early_and_the_rest_repeats_the_result():
    """With no patience, and targets that may move by anything: one epoch or two each, of twelve planned."""
    settings = SMALL | {"pretraining_epochs": 1, "initialization_epochs": 4, "epochs": 7, "epochs_per_round": 3}
    curve, run = trained(Depict(**settings, initialization_patience=0, tolerance=1.0), "digits_clusters_unbalanced")
    assert len(curve) == 4
    assert run.part("progress")["stage"] == 3
    assert curve[-1] == curve[-2]
    targets = run.part("memory")["targets"]
    torch.testing.assert_close(targets.sum(1), torch.ones(len(targets)))


def test_the_layer_starts_from_normalized_means():
    settings = SMALL | {"pretraining_epochs": 1, "initialization_epochs": 1, "epochs": 1, "learning_rate": 1e-9}
    _, run = trained(Depict(**settings))
    network, memory = run.part("model"), run.part("memory")
    torch.testing.assert_close(network.theta.norm(dim=1), torch.ones(10), atol=1e-4, rtol=0)
    with torch.no_grad():
        embeddings = network.autoencoder.encoder(load("digits_clusters").train.tensors[0])
    means = torch.stack([embeddings[memory["labels"] == k].mean(0) for k in range(10)])
    torch.testing.assert_close(network.theta.detach(), nn.functional.normalize(means), atol=1e-3, rtol=0)
    # After hardly a step, the targets are those of the clean pathway's predictions.
    with torch.no_grad():
        log_p = network.clean_log_p(load("digits_clusters").train.tensors[0])
    torch.testing.assert_close(memory["targets"], balanced_targets(log_p, 1.0), atol=1e-4, rtol=0)


def test_a_prior_is_given_to_clusters_by_their_size():
    method = Depict(cluster_prior=(0.1, 0.6, 0.3))
    found = method._prior(torch.tensor([2, 2, 2, 0, 1, 1]), 3)
    torch.testing.assert_close(found, torch.tensor([0.1, 0.3, 0.6]))
    with pytest.raises(ConfigError, match="cluster_prior must be 10 positive shares on digits_clusters"):
        method.build_model(load("digits_clusters"))


def test_parameters_of_the_layer_draw_no_random_number():
    """So that an autoencoder with it and one without it are trained alike."""
    torch.manual_seed(0)
    MultinomialClusterer(Autoencoder("paper", (1, 8, 8), 2, 3, 0.1), 3, 3)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    Autoencoder("paper", (1, 8, 8), 2, 3, 0.1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("first", ["kmeans", "path_integral"])
def test_it_tells_digits_apart(first):
    settings = {"channels": 8, "pretraining_epochs": 5, "initialization_epochs": 2, "epochs": 1, "epochs_per_round": 8}
    method = Depict(**SMALL | settings | {"batch_size": 60}, first_clusters=first)
    curve, run = trained(method, "digits_clusters_unbalanced")
    assert len(curve) == 1
    # A class has less than a fifth of the images.
    assert curve[0]["val/accuracy"] > 0.35
    assert run.part("progress")["stage"] == 3


def test_in_mixed_precision_its_losses_are_in_single_precision():
    settings = SMALL | {"pretraining_epochs": 1, "initialization_epochs": 1, "epochs": 1, "epochs_per_round": 3}
    methods = [Depict(**settings, mixed_precision=mixed) for mixed in (True, False)]
    curves = [trained(method, "digits_clusters_unbalanced")[0] for method in methods]
    mixed, single = (curve[0]["train/loss"] for curve in curves)
    assert mixed != single
    assert mixed == pytest.approx(single, rel=0.1)


def test_small_kernels_do_not_lead_back_to_every_size():
    with pytest.raises(ConfigError, match=r"multiples of 4, not \(14, 14\): use paper"):
        Autoencoder("small", (1, 14, 14), 2, 5, 0.1)
