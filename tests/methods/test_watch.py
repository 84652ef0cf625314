"""Watching changes no training, sees the same rows in every run, and reports what the estimators say of them."""

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from regbench.methods import Run
from regbench.methods.classification.cross_entropy import CrossEntropy
from regbench.methods.contract import NotApplicable, is_watched
from regbench.methods.contract_trainings import smoke
from regbench.methods.diagnostics import DIAGNOSTICS, Diagnostics
from regbench.methods.dynamics.koopman_autoencoder import KoopmanAutoencoder
from regbench.methods.errors import ContractError
from regbench.methods.hidden import fixed_rows, frequencies, penultimate, unnoticed, watched
from regbench.methods.mixed_modality.noise_mask import NoiseMask
from regbench.methods.shared.information.adaptive import ebab
from regbench.methods.shared.information.diffusion import diffusion_spectral_entropy
from regbench.methods.sparse_regression.ridge import Ridge
from regbench.methods.watch import ESTIMATES, SIGMA, Watch


def followed(method, data="digits", checkpoint=None, rounds=None, **asked):
    """The curve of a training, what was measured after each round, and its run."""
    run = Run(data, checkpoint=checkpoint)
    watch, curve, found = Watch(Diagnostics(**asked), method, run), [], []
    for metrics in method.train(run):
        curve.append(dict(metrics))
        found.append(watch.measure())
        if rounds and run.round == rounds:
            break
    return curve, found, run


def test_every_diagnostic_has_an_estimator():
    assert ESTIMATES.keys() == DIAGNOSTICS.keys()


@pytest.mark.parametrize("architecture", ["mlp", "tiny_vit"])
def test_training_is_left_alone(architecture):
    method = CrossEntropy(architecture=architecture, epochs=2, batch_size=300)
    curve, found, run = followed(method, names=list(DIAGNOSTICS), rows=40, every=1)
    assert curve == curve_of_digits(method)
    assert all(metrics.keys() == {f"diagnostic/{name}" for name in DIAGNOSTICS} for metrics in found)
    assert found[0] != found[1]
    assert run.part("model").training is False


def curve_of_digits(method):
    return [dict(metrics) for metrics in method.train(Run("digits"))]


def test_a_resumed_run_measures_the_same():
    method = CrossEntropy(epochs=3)
    _, whole, _ = followed(method, names=["dse", "dsmi_x"], every=1)
    _, _, begun = followed(method, names=["dse"], rounds=1)
    _, rest, _ = followed(method, names=["dse", "dsmi_x"], every=1, checkpoint=copy.deepcopy(begun.state()))
    assert rest == whole[1:]


def test_what_is_reported_is_the_estimate_of_the_fixed_rows():
    method = CrossEntropy(epochs=1)
    _, found, run = followed(method, names=["dse", "ebab_y"], layers=["representation", "model.1"], rows=50)
    x, y = run.tensors(run.data.validation)
    rows = fixed_rows(len(x), 50)
    network = run.part("model")
    with torch.no_grad():
        first = network[:2](x[rows]).double()
        hidden = network[:-1](x[rows]).double()
    unit = hidden / hidden.norm(dim=1, keepdim=True)
    assert found[0]["diagnostic/dse"] == pytest.approx(diffusion_spectral_entropy(unit, SIGMA).item(), abs=1e-9)
    assert found[0]["diagnostic/ebab_y"] == pytest.approx(ebab(hidden, y[rows])[1].item())
    assert found[0]["diagnostic/model.1/ebab_y"] == pytest.approx(ebab(first, y[rows])[1].item())
    assert set(found[0]) == {f"diagnostic/{layer}{name}" for layer in ("", "model.1/") for name in ("dse", "ebab_y")}


def test_the_period():
    method = smoke(CrossEntropy).replace(epochs=7)
    _, found, _ = followed(method, names=["dse"], every=3)
    assert [number for number, metrics in enumerate(found, start=1) if metrics] == [1, 3, 6, 7]
    assert Diagnostics(names=["dse"]).period(30) == 3
    assert Diagnostics(names=["dse"]).period(4) == 1


def test_without_labels_or_network_what_needs_them_is_left_out():
    names = ["dse", "dsmi", "ebab_x", "ebab_y"]
    _, found, _ = followed(smoke(KoopmanAutoencoder), KoopmanAutoencoder.track.data[0], names=names)
    assert found[0].keys() == {"diagnostic/dse", "diagnostic/ebab_x"}
    _, found, _ = followed(smoke(Ridge), Ridge.track.data[0], names=names)
    assert not any(found)


def test_a_network_that_diverged_is_not_measured():
    class Diverged(CrossEntropy):
        def hidden(self, run, count):
            found = super().hidden(run, count)
            return found._replace(representation=found.representation / 0)

    _, found, _ = followed(Diverged(epochs=1), names=["dse"])
    assert found == [{}]


def test_a_method_that_draws_numbers_while_it_is_seen():
    class Draws(CrossEntropy):
        def hidden(self, run, count):
            torch.rand(1)
            return super().hidden(run, count)

    method = Draws(architecture="tiny_vit", epochs=1, batch_size=300)
    assert followed(method, names=["dse"])[0] == curve_of_digits(method)


def test_the_contract_catches_one_that_changes_when_it_is_seen():
    class Moves(NoiseMask):
        def hidden(self, run, count):
            with torch.no_grad():
                next(run.part("network").parameters()).add_(0.1)
            return super().hidden(run, count)

    with pytest.raises(ContractError, match="watching its hidden representation"):
        is_watched(Moves)
    with pytest.raises(NotApplicable):
        is_watched(Ridge)


def test_names_are_checked():
    for wrong in ({"names": ["dsee"]}, {"names": []}, {"names": ["dse", "dse"]}, {"names": ["dse"], "every": 0}):
        with pytest.raises(ValidationError):
            Diagnostics(**wrong)


# What watches


def test_the_penultimate_input_is_that_of_the_last_layer_with_parameters():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    x = torch.randn(5, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(penultimate(network, x), network[:3](x))
    assert not network[3]._forward_pre_hooks


def test_layers_are_named_by_patterns():
    network = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 2)))
    with watched({"model": network}, ["model.1.*", "model"]) as seen:
        given = network(torch.ones(2, 4))
    assert set(seen) == {"model", "model.1.0", "model.1.1"}
    assert torch.equal(seen["model"], given)
    network(torch.zeros(2, 4))
    assert torch.equal(seen["model"], given)


def test_nothing_is_left_behind():
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
    network[1].eval()
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    with unnoticed([network], torch.device("cpu")):
        network(torch.randn(4, 3))
        assert not network.training
    assert [module.training for module in network.modules()] == [True, True, False]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_fixed_rows():
    assert fixed_rows(100, 10).equal(fixed_rows(100, 10))
    assert fixed_rows(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert len(fixed_rows(100, 10).unique()) == 10


def test_frequencies_are_shares_of_the_tokens_that_occur():
    tokens = torch.tensor([[5, 5, 9, 5], [9, 2, 2, 9]])
    assert frequencies(tokens).tolist() == [[0.0, 0.75, 0.25], [0.5, 0.0, 0.5]]
