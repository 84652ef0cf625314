import pytest
import torch

from regbench.methods.mixed_modality.networks import build_classifier, build_features
from regbench.methods.mixed_modality.task import MixedModalityMethod, cosine
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import load

SHORT = {"heating_epochs": 3, "finetune_epochs": 2, "finetune_warmup": 1}


def states(method, run=None):
    """The network after each epoch."""
    run = run or Run("digit_modalities")
    return [{name: value.clone() for name, value in run.state()["state"]["network"].items()} for _ in method.train(run)]


def rates(method, name):
    run = Run("digit_modalities")
    return [run.state()["state"][name]["param_groups"][0]["lr"] for _ in method.train(run)]


def test_the_last_epochs_of_pretraining_are_averaged():
    single = states(create("plain_two_stage", SHORT | {"averaged_epochs": 1}))
    averaged = states(create("plain_two_stage", SHORT | {"averaged_epochs": 2}))
    for name, value in averaged[2].items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (single[1][name] + single[2][name]) / 2)
        else:
            assert torch.equal(value, single[2][name])
    assert all(torch.equal(averaged[1][name], value) for name, value in single[1].items())


def test_averaging_more_epochs_than_there_are_averages_all():
    found, all_three = (states(create("plain_two_stage", SHORT | {"averaged_epochs": n})) for n in (3, 9))
    assert all(torch.equal(found[-1][name], value) for name, value in all_three[-1].items())


def test_rates_fall_after_each_third_then_warm_up():
    method = create("plain_two_stage", {"heating_epochs": 6, "finetune_epochs": 4, "finetune_warmup": 3, "learning_rate": 0.1})
    heating = rates(method, "heating")
    assert heating == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001] + [0.001] * 4)
    # From a hundredth of the rate, as torch's LinearLR does it: reached after the warm-up.
    assert rates(method, "tuning")[6:] == pytest.approx([2e-3 * f for f in (0.01, 0.34, 0.67, 1.0)])


def test_the_policys_rate_is_half_a_cosine_like_torchs():
    method = create("noise_mask", {"heating_epochs": 4, "finetune_epochs": 1, "learning_rate": 0.05, "policy_lr_ratio": 0.2})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    expected = []
    for _ in range(4):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates(method, "acting")[:4] == pytest.approx(expected)
    assert [0.01 * cosine(epoch, 4) for epoch in range(1, 5)] == pytest.approx(expected)


def test_finetuning_leaves_the_policy_alone_and_moves_the_classifier():
    run = Run("digit_modalities")
    method = create("noise_mask", SHORT | {"averaged_epochs": 1})
    policies, networks = [], []
    for _ in method.train(run):
        state = run.state()["state"]
        policies.append({name: value.clone() for name, value in state["policy"].items()})
        networks.append(state["network"]["0.weight"].clone())
    assert all(torch.equal(value, policies[2][name]) for later in policies[3:] for name, value in later.items())
    assert not torch.equal(networks[4], networks[3])
    assert any(not torch.equal(value, policies[1][name]) for name, value in policies[2].items())


def test_without_finetuning_pretraining_is_the_same():
    both = states(create("random_mask", SHORT))
    first = states(create("random_mask", SHORT | {"finetune_epochs": 0}))
    assert len(first) == 3
    assert all(torch.equal(first[-1][name], value) for name, value in both[2].items())


@pytest.mark.parametrize("architecture", ["cnn", "resnet10"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13)])
def test_classifiers_and_features_take_images_of_every_shape(architecture, shape):
    x = torch.rand(2, *shape)
    assert build_classifier(architecture, shape, 30)(x).shape == (2, 30)
    features, width = build_features(architecture, shape)
    assert features(x).shape == (2, width)
    assert width == (512 if architecture == "resnet10" else 32)


def test_masked_accuracy_is_that_on_images_times_uniform_cells():
    class Brightness(torch.nn.Module):
        """Class 1 where an image's mean is above a half, else class 0."""

        def forward(self, x):
            above = x.mean((1, 2, 3)) - 0.5
            return torch.stack([-above, above], 1)

    count = 4000
    split = torch.utils.data.TensorDataset(torch.ones(count, 1, 8, 8), torch.ones(count, dtype=torch.int64))
    method, run = create("plain_two_stage", {}), Run("digit_modalities")
    found = method.evaluate(Brightness(), split, run)
    assert found["accuracy"] == 1
    # The mean of 16 uniform numbers is above a half with probability one half.
    assert found["masked_accuracy"] == pytest.approx(0.5, abs=0.04)
    assert method.evaluate(Brightness(), split, run) == found
    assert method.evaluate(Brightness(), split, Run("digit_modalities", seed=1)) != found


def test_everything_in_the_classifier_learns():
    method = create("plain_two_stage", {})
    network = build_classifier("cnn", (1, 8, 8), 30)
    x, y = (rows[:16] for rows in load("digit_modalities").train.tensors)
    MixedModalityMethod.heat(method, network, None, x, y, Run("digit_modalities"))[0].backward()
    assert all(p.grad.abs().sum() > 0 for name, p in network.named_parameters() if name not in ("0.bias", "3.bias"))
