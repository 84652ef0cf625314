"""Mixed precision: the network computes in bfloat16; what is outside of it does not notice, and training learns as much."""

import io
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import nn

from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.precision import MixedPrecision

SETTINGS = {
    "cross_entropy": {"epochs": 6},
    "trades": {"epochs": 2},
    "plain_two_stage": {"heating_epochs": 3, "finetune_epochs": 1, "averaged_epochs": 2},
    "noise_mask": {"heating_epochs": 2, "finetune_epochs": 1, "averaged_epochs": 1},
    "attention_entropy_mil": {"epochs": 2, "batch_size": 20, "feature_dim": 16, "attention_dim": 8},
    "dual_smoothing": {"epochs": 2, "report_every": 1, "pretraining_epochs": 1, "n0": 20, "n": 100, "certify_stride": 20},
}
DATA = {"cross_entropy": "digits", "trades": "digits_small"}


def curve(slug: str, *, mixed_precision: bool) -> list[dict[str, float]]:
    method = create(slug, SETTINGS[slug] | {"mixed_precision": mixed_precision})
    return list(method.train(Run(DATA.get(slug, method.track.data[0]))))


def gradients(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    loss = nn.functional.cross_entropy(network(x), y)
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(network.parameters()))])


def test_only_the_network_computes_in_bfloat16():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    seen = []
    network[2].register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    x, y = torch.rand(100, 64), torch.arange(100) % 10
    mixed = MixedPrecision(network)
    assert mixed(x).dtype == torch.float32
    assert seen == [torch.bfloat16]
    exact, rounded = gradients(network, x, y), gradients(mixed, x, y)
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    # bfloat16 keeps 8 bits.
    assert (exact - rounded).norm() < 2**-5 * exact.norm()


class Pair(NamedTuple):
    first: torch.Tensor
    second: tuple[torch.Tensor, None]


@dataclass
class Held:
    pair: Pair


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> Held:
        return Held(Pair(self.layer(x), (self.layer(x), None)))


def test_outputs_in_tuples_and_data_classes_are_in_single_precision():
    found = MixedPrecision(Nested())(torch.rand(2, 4))
    assert isinstance(found.pair, Pair)
    assert found.pair.first.dtype == found.pair.second[0].dtype == torch.float32
    assert found.pair.second[1] is None


@pytest.mark.parametrize("slug", SETTINGS)
def test_training_learns_as_much(slug):
    full, mixed = curve(slug, mixed_precision=False)[-1], curve(slug, mixed_precision=True)[-1]
    assert full.keys() == mixed.keys()
    assert full != mixed
    assert mixed["val/accuracy"] == pytest.approx(full["val/accuracy"], abs=0.06)


def test_a_run_resumes_exactly():
    method = create("cross_entropy", {"epochs": 2, "mixed_precision": True})
    run = Run("digits_small")
    training = method.train(run)
    next(training)
    file = io.BytesIO()
    torch.save(run.state(), file)
    file.seek(0)
    (resumed,) = method.train(Run("digits_small", checkpoint=torch.load(file, weights_only=True)))
    assert resumed == next(training)
