import pytest
import torch
from torch import nn

from regbench.methods.classification.architectures import build
from regbench.methods.classification.resnet import Residual, ResNet
from regbench.methods.errors import ConfigError


@pytest.mark.parametrize(("architecture", "layers", "size"), [("resnet18", 18, 11_173_962), ("resnet50", 50, 23_520_842)])
def test_they_have_the_layers_of_their_names_and_the_size_of_other_implementations(architecture, layers, size):
    # The sizes are those of the widely used versions for CIFAR-10, with a stem of 3 x 3.
    network = build(architecture, (3, 32, 32), 10, "relu")
    assert sum(p.numel() for p in network.parameters()) == size
    weighted = [m for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in name]
    assert len(weighted) == layers


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 9, 11)])
def test_logits_and_features_of_images_of_every_shape(shape):
    network = ResNet(shape[0], 7, (1, 1, 1, 1))
    x = torch.rand(2, *shape)
    assert network(x).shape == (2, 7)
    assert network.features(x).shape == (2, network.width) == (2, 512)


def test_stages_halve_the_image_and_double_the_channels():
    network = ResNet(1, 10, (1, 2, 1, 1), bottleneck=True)
    x, shapes = torch.rand(2, 1, 16, 16), []
    for layer in network.features:
        x = layer(x)
        if isinstance(layer, Residual):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(256, 16, 16), (512, 8, 8), (512, 8, 8), (1024, 4, 4), (2048, 2, 2)]


def test_a_block_whose_convolutions_are_silent_passes_its_input():
    block = Residual(4, 4, 1, bottleneck=True, activation=nn.ReLU)
    nn.init.zeros_(block.body[-1][1].weight)
    x = torch.rand(2, 4, 5, 5)
    assert torch.equal(block(x), x)


def test_weights_are_uniform_with_the_variance_that_relu_wants():
    torch.manual_seed(0)
    first = ResNet(3, 10, (1, 1, 1, 1)).features[0].weight
    assert first.abs().max().item() <= (6 / 27) ** 0.5
    assert first.var().item() == pytest.approx(2 / 27, rel=0.1)


@pytest.mark.parametrize(("activation", "module"), [("gelu", nn.GELU), ("prelu", nn.PReLU)])
def test_the_activation_is_chosen(activation, module):
    found = [type(m) for m in build("resnet18", (1, 8, 8), 10, activation).modules() if isinstance(m, nn.ReLU | module)]
    assert found == [module] * 17


def test_inputs_that_are_no_images_are_refused():
    with pytest.raises(ConfigError, match="resnet18 needs images"):
        build("resnet18", (64,), 10, "relu")
