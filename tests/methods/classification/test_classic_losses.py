import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy
from torch import nn
from torch.autograd import gradcheck
from torch.nn.functional import cross_entropy

from regbench.methods.classification.task import Batch
from regbench.methods.registry import create
from regbench.methods.run import Run

LOGITS = np.random.default_rng(0).normal(size=(6, 4)) * 3
LABELS = np.array([0, 3, 1, 2, 2, 0])


def objective(slug, settings, logits):
    method = create(slug, settings)
    labels = torch.tensor(LABELS)
    batch = Batch(logits, labels, torch.arange(len(labels)), logits.shape[1], 1, 1, None, torch.Generator())
    return method.objective(nn.Identity(), batch, method.weight_values())[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 1.0])
def test_label_smoothing_equals_torchs(smoothing):
    mine, theirs = (torch.tensor(LOGITS, requires_grad=True) for _ in range(2))
    loss = objective("label_smoothing", {"smoothing": smoothing}, mine)
    reference = cross_entropy(theirs, torch.tensor(LABELS), label_smoothing=smoothing)
    loss.backward()
    reference.backward()
    assert loss.item() == pytest.approx(reference.item(), abs=1e-12)
    torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize("penalty", [0.0, 0.1, 1.0])
def test_confidence_penalty_subtracts_scipys_entropy(penalty):
    p = softmax(LOGITS, axis=1)
    expected = -np.log(p[np.arange(len(p)), LABELS]).mean() - penalty * entropy(p, axis=1).mean()
    assert objective("confidence_penalty", {"penalty": penalty}, torch.tensor(LOGITS)).item() == pytest.approx(expected)


@pytest.mark.parametrize("settings", [("label_smoothing", {"smoothing": 0.3}), ("confidence_penalty", {"penalty": 0.7})])
def test_gradients_agree_with_finite_differences(settings):
    assert gradcheck(lambda logits: objective(*settings, logits), torch.tensor(LOGITS, requires_grad=True))


@pytest.mark.parametrize("slug", ["label_smoothing", "confidence_penalty"])
def test_switched_off_they_train_bit_for_bit_like_cross_entropy(slug):
    states = []
    for method in (create(slug, {"epochs": 2}).baseline(), create("cross_entropy", {"epochs": 2})):
        run = Run("digits")
        list(method.train(run))
        states.append(run.state()["state"]["model"])
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


@pytest.mark.parametrize("slug", ["label_smoothing", "confidence_penalty"])
def test_they_make_predictions_less_confident(slug):
    def confidence(method):
        run = Run("digits")
        list(method.train(run))
        network = method.build_model(run.data)
        network.load_state_dict(run.state()["state"]["model"])
        with torch.no_grad():
            return network(run.data.validation.tensors[0]).softmax(1).amax(1).mean().item()

    assert confidence(create(slug, {"epochs": 10})) < confidence(create("cross_entropy", {"epochs": 10})) - 0.01


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_weight_decay_trains_like_cross_entropy_with_that_decay(optimizer, decay):
    settings = {"epochs": 2, "optimizer": optimizer, "weight_decay": decay, "learning_rate": 0.01}
    curves = [list(create(slug, settings).train(Run("digits_small"))) for slug in ("weight_decay", "cross_entropy")]
    assert curves[0] == curves[1]


def test_weight_decay_is_the_gradient_of_half_the_squared_norm():
    """One step of SGD from the same start, with and without decay, differs by rate times decay times the parameters."""

    def step(decay):
        run = Run("digits_small")
        torch.manual_seed(0)
        method = create("weight_decay", {"weight_decay": decay, "epochs": 1, "batch_size": 100, "learning_rate": 0.1})
        start = torch.nn.utils.parameters_to_vector(method.build_model(run.data).parameters()).detach()
        torch.manual_seed(0)
        list(method.train(run))
        return start, torch.cat([value.flatten() for value in run.state()["state"]["model"].values()])

    (start, decayed), (_, plain) = step(0.05), step(0.0)
    # Nesterov momentum makes the first step 1.9 gradients long.
    torch.testing.assert_close(plain - decayed, 1.9 * 0.1 * 0.05 * start, rtol=1e-3, atol=1e-6)


def test_switching_weight_decay_off_leaves_the_rest_of_training():
    off = create("weight_decay", {"weight_decay": 0.01, "learning_rate": 0.02}).baseline()
    assert (off.weight_decay, off.learning_rate) == (0.0, 0.02)
