import numpy as np
import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import cross_entropy, softmax

from regbench.methods.classification.ps_kd import ProgressiveSelfDistillation
from regbench.methods.classification.task import Batch
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import load

PAST = (0.5, 0.3, 0.2)
LOGITS = (2.0, 0.5, -1.0)


def train(method, seed=0, run=None):
    """Trains on the digits with wrong labels and returns the state after the last epoch."""
    run = run or Run("digits_noisy", seed=seed)
    for _ in method.train(run):
        pass
    return run.state()


def store(state):
    return state["state"]["memory"]["probabilities"]


def loss_and_gradient(z, past, y, alpha, *, epoch=1, epochs=1, schedule="linear"):
    """PS-KD's objective on given logits, and its gradient in them; by default in the only epoch, where alpha_t = alpha_T."""
    logits = torch.as_tensor(z, dtype=torch.float64).reshape(-1, len(past[0]) if np.ndim(past) > 1 else len(past))
    logits.requires_grad_()
    labels = torch.tensor([y] * len(logits) if np.ndim(y) == 0 else y)
    method = ProgressiveSelfDistillation(final_alpha=alpha, alpha_schedule=schedule)
    memory = method.build_memory(load("digits"))
    memory.probabilities = torch.as_tensor(past, dtype=torch.float64).reshape(logits.shape)
    index = torch.arange(len(labels))
    batch = Batch(logits, labels, index, logits.shape[1], epoch, epochs, memory, torch.Generator())
    loss, _ = method.objective(lambda x: x, batch, method.weight_values())
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.item(), gradient


def random_batch(rows=7, classes=5):
    random = np.random.default_rng(0)
    return random.normal(size=(rows, classes)), random.dirichlet(np.ones(classes), rows), random.integers(classes, size=rows)


@pytest.mark.parametrize(
    ("alpha", "loss", "gradient"),
    [
        (0.0, 0.241311, None),
        (0.4, 0.661311, (-0.014403, 0.055290, -0.040887)),
        (0.8, 1.081311, (0.185597, -0.064710, -0.120887)),
    ],
)
def test_loss_and_gradient_by_hand(alpha, loss, gradient):
    found, slope = loss_and_gradient(LOGITS, PAST, 0, alpha)
    assert found == pytest.approx(loss, abs=1e-6)
    if gradient:
        np.testing.assert_allclose(slope[0], gradient, atol=1e-6)


@pytest.mark.parametrize(
    ("z", "past", "alpha", "measured", "identity_holds"),
    [
        ((0.2, 0.1, 0.0), (0.6, 0.22, 0.18), 0.4, 0.747169, True),
        ((0.2, 0.1, 0.0), (0.6, 0.22, 0.18), 0.8, 0.494339, True),
        (LOGITS, PAST, 0.4, 0.257881, False),
    ],
)
def test_gradients_shrink_by_the_rescaling_identity_where_its_sign_conditions_hold(z, past, alpha, measured, identity_holds):
    plain = loss_and_gradient(z, past, 0, 0.0)[1]
    ratio = (loss_and_gradient(z, past, 0, alpha)[1].abs().sum() / plain.abs().sum()).item()
    assert ratio == pytest.approx(measured, abs=1e-6)
    formula = 1 - alpha * (1 - past[0]) / (1 - softmax(torch.tensor(z, dtype=torch.float64), 0)[0].item())
    assert (abs(ratio - formula) < 1e-9) == identity_holds


def test_the_rescaling_example_has_the_cards_loss():
    assert loss_and_gradient((0.2, 0.1, 0.0), (0.6, 0.22, 0.18), 0, 0.8)[0] == pytest.approx(1.048343, abs=1e-6)


@pytest.mark.parametrize(("epoch", "alpha"), [(1, 0.00266667), (150, 0.4), (300, 0.8)])
def test_trust_grows_linearly_over_the_planned_epochs(epoch, alpha):
    # The loss is affine in alpha_t, so that it tells alpha_t.
    at_zero, at_one = (loss_and_gradient(LOGITS, PAST, 0, value)[0] for value in (0.0, 1.0))
    found = loss_and_gradient(LOGITS, PAST, 0, 0.8, epoch=epoch, epochs=300)[0]
    assert (found - at_zero) / (at_one - at_zero) == pytest.approx(alpha, abs=1e-8)


def test_constant_trust_does_not_grow():
    early = loss_and_gradient(LOGITS, PAST, 0, 0.8, epoch=2, epochs=300, schedule="constant")[0]
    assert early == pytest.approx(1.081311, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8, 1.0])
def test_equals_torchs_cross_entropy_with_probability_targets(alpha):
    z, past, y = random_batch()
    logits = torch.tensor(z, requires_grad=True)
    target = (1 - alpha) * np.eye(z.shape[1])[y] + alpha * past
    reference = cross_entropy(logits, torch.tensor(target))
    reference.backward()
    loss, gradient = loss_and_gradient(z, past, y, alpha)
    assert loss == pytest.approx(reference.item(), abs=1e-12)
    torch.testing.assert_close(gradient, logits.grad)


def test_when_past_and_present_agree_the_gradient_shrinks_to_one_minus_alpha():
    z, _, y = random_batch()
    p = softmax(torch.tensor(z), 1)
    gradient = loss_and_gradient(z, p.numpy(), y, 0.7)[1]
    np.testing.assert_allclose(gradient * len(y), 0.3 * (p - torch.eye(z.shape[1])[y]), atol=1e-12)


def test_a_uniform_past_is_label_smoothing():
    z, past, y = random_batch()
    smoothed = cross_entropy(torch.tensor(z), torch.tensor(y), label_smoothing=0.4)
    assert loss_and_gradient(z, np.full_like(past, 1 / past.shape[1]), y, 0.4)[0] == pytest.approx(smoothed.item(), abs=1e-12)


def test_gradient_agrees_with_finite_differences():
    z, past, y = random_batch()
    method = ProgressiveSelfDistillation(final_alpha=0.8)
    memory = method.build_memory(load("digits"))
    memory.probabilities = torch.tensor(past)

    def objective(logits):
        index = torch.arange(len(y))
        batch = Batch(logits, torch.tensor(y), index, logits.shape[1], 1, 2, memory, torch.Generator())
        return method.objective(lambda x: x, batch, method.weight_values())[0]

    assert gradcheck(objective, torch.tensor(z, requires_grad=True))


def test_no_trust_trains_bit_for_bit_like_cross_entropy():
    settings = {"epochs": 3}
    distilled = train(create("ps_kd", settings | {"final_alpha": 0.0}))
    plain = train(create("cross_entropy", settings))
    assert all(torch.equal(distilled["state"]["model"][name], value) for name, value in plain["state"]["model"].items())


@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_the_first_epoch_is_plain_cross_entropy(schedule):
    # One planned epoch: alpha_1 = alpha_T.
    distilled = train(create("ps_kd", {"epochs": 1, "final_alpha": 0.9, "alpha_schedule": schedule}))
    plain = train(create("cross_entropy", {"epochs": 1}))
    for name, value in plain["state"]["model"].items():
        torch.testing.assert_close(distilled["state"]["model"][name], value, atol=1e-5, rtol=1e-4)


def test_the_second_epoch_is_not():
    distilled, plain = train(create("ps_kd", {"epochs": 2})), train(create("cross_entropy", {"epochs": 2}))
    name = "1.weight"
    assert (distilled["state"]["model"][name] - plain["state"]["model"][name]).abs().max() > 1e-3


def test_the_store_holds_probability_vectors_without_gradient():
    past = store(train(create("ps_kd", {"epochs": 1})))
    assert past.shape == (900, 10)
    assert not past.requires_grad
    assert (past >= 0).all()
    torch.testing.assert_close(past.sum(1), torch.ones(900))
    assert ((past > 0).sum(1) > 1).all()  # every example was seen, so that no row is still one-hot


def test_each_row_of_the_store_belongs_to_the_example_of_that_index():
    # A vanishing learning rate keeps the network as it was, so that every row can be computed again whatever the order was.
    method = create("ps_kd", {"epochs": 2, "learning_rate": 1e-12})
    run = Run("digits_noisy")
    state = train(method, run=run)
    network = method.build_model(run.data)
    network.load_state_dict(state["state"]["model"])
    with torch.no_grad():
        torch.testing.assert_close(store(state), softmax(network(run.data.train.tensors[0]), 1))


def test_a_resumed_run_keeps_its_past():
    method = create("ps_kd", {"epochs": 4})
    whole = train(method)
    first = Run("digits_noisy")
    rounds = method.train(first)
    next(rounds)
    next(rounds)
    second = Run("digits_noisy", checkpoint=first.state())
    resumed = train(method, run=second)
    assert torch.equal(store(whole), store(resumed))
    assert all(torch.equal(whole["state"]["model"][name], value) for name, value in resumed["state"]["model"].items())
