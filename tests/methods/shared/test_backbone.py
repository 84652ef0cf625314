"""Networks that start from a file, and backbones that learn slowly or not at all."""

import copy

import pytest
import torch
from torch import nn

from regbench.methods.errors import ConfigError
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.backbone import freeze, head, load_weights, split_groups


def network(classes: int = 10) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes))


def test_a_file_gives_the_backbone_and_the_head_where_that_fits(tmp_path):
    saved = network()
    for parameter in saved.parameters():
        nn.init.normal_(parameter)
    torch.save(saved.state_dict(), tmp_path / "same.pt")
    same, other = network(), network(classes=3)
    load_weights(same, str(tmp_path / "same.pt"))
    torch.testing.assert_close(same.state_dict(), saved.state_dict(), rtol=0, atol=0)
    before = other[4].weight.clone()
    load_weights(other, str(tmp_path / "same.pt"))
    torch.testing.assert_close(other[0].weight, saved[0].weight, rtol=0, atol=0)
    torch.testing.assert_close(other[4].weight, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"0.weight": torch.zeros(4, 1, 3, 3)}, r"weights.pt lacks a tensor of the network: 0.bias and 5 more"),
        (network().state_dict() | {"0.bias": torch.zeros(5)}, r"weights.pt has another shape: 0.bias$"),
        ([1, 2], "holds no state_dict that can be read"),
    ],
)
def test_other_files_are_refused_in_a_line(tmp_path, content, says):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match=says):
        load_weights(network(), str(tmp_path / "weights.pt"))


def test_a_frozen_backbone_keeps_parameters_and_statistics_in_training():
    found = network()
    freeze(found)
    before = copy.deepcopy(found.state_dict())
    optimizer = torch.optim.SGD(found.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        found.train()
        optimizer.zero_grad()
        found(torch.randn(8, 1, 8, 8)).square().sum().backward()
        optimizer.step()
    after = found.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"4.weight", "4.bias"}


def test_groups_are_split_where_the_rates_differ_but_for_those_that_have_their_own():
    found = network()
    rest, own = list(found.parameters())[:-1], {"params": [nn.Parameter(torch.zeros(()))], "rate": 3.0}
    groups = [{"params": [*rest, found[4].bias], "weight_decay": 0.5}, own]
    assert split_groups(groups, found, 1.0) is groups
    last, backbone, kept = split_groups(groups, found, 0.1)
    assert [id(p) for p in last["params"]] == [id(found[4].weight), id(found[4].bias)]
    assert [id(p) for p in backbone["params"]] == [id(p) for p in rest[:-1]]
    assert (last["rate"], backbone["rate"]) == (1.0, 0.1)
    assert last["weight_decay"] == backbone["weight_decay"] == 0.5
    assert kept is own
    assert head(found) is found[4]


def test_a_training_with_a_slow_backbone_moves_it_less():
    def moved(rate: float) -> float:
        method = create("cross_entropy", {"epochs": 1, "backbone_rate": rate, "schedule": "constant", "weight_decay": 0})
        run = Run("digits_small")
        list(method.train(run))
        first = next(run.network.parameters()).detach()
        start = next(method.build_model(Run("digits_small").data).parameters()).detach()
        return (first - start).norm().item()

    assert moved(0.0) == 0
    assert 0 < moved(0.01) < 0.1 * moved(1.0)
