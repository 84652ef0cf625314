import pytest
import torch
from torch import nn

from regbench.methods.classification.architectures import build
from regbench.methods.classification.preactivation import PreActivation, PreActivationResNet
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


@pytest.mark.parametrize("architecture", ["resnet18", "preact_resnet18", "wide_resnet34_10"])
def test_inputs_that_are_no_images_are_refused(architecture):
    with pytest.raises(ConfigError, match=f"{architecture} needs images"):
        build(architecture, (64,), 10, "relu")


# Networks that activate first


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_pre_activation_resnet_18_has_the_size_of_other_implementations():
    # 11,171,146 in the widely used version for CIFAR-10, which leaves out the normalization after the last block.
    assert count(build("preact_resnet18", (3, 32, 32), 10, "relu")) == 11_171_146 + 2 * 512


@pytest.mark.parametrize(
    ("depth", "factor", "millions"), [(40, 1, 0.6), (40, 4, 8.9), (16, 8, 11.0), (22, 8, 17.2), (28, 10, 36.5)]
)
def test_wide_resnets_have_their_published_sizes(depth, factor, millions):
    """Tables 4 and 5 of Zagoruyko and Komodakis."""
    widths = [width * factor for width in (16, 32, 64)]
    with torch.device("meta"):
        network = PreActivationResNet(3, 10, stem=16, widths=widths, blocks=(depth - 4) // 6, activation=nn.ReLU)
    assert count(network) / 1e6 == pytest.approx(millions, abs=0.05)
    weighted = [m for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in name]
    # The names count three shortcuts among the convolutions.
    assert len(weighted) + 2 == depth


def test_the_wide_resnet_of_adversarial_training_has_46_million_parameters():
    with torch.device("meta"):
        assert round(count(build("wide_resnet34_10", (3, 32, 32), 10, "relu")) / 1e6, 1) == 46.2


def test_stages_halve_the_image_and_widen_it():
    network = PreActivationResNet(1, 10, stem=4, widths=(8, 12, 16), blocks=2, activation=nn.ReLU)
    x, shapes = torch.rand(2, 1, 16, 16), []
    for layer in network:
        x = layer(x)
        if isinstance(layer, PreActivation):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(8, 16, 16)] * 2 + [(12, 8, 8)] * 2 + [(16, 4, 4)] * 2
    assert x.shape == (2, 10)


def test_a_silent_block_that_activates_first_passes_its_input_through_an_unbroken_shortcut():
    block = PreActivation(4, 4, 1, nn.ReLU)
    nn.init.zeros_(block.body[-1].weight)
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x)


def test_a_shortcut_that_changes_the_shape_sees_the_first_activation():
    block = PreActivation(3, 6, 2, nn.ReLU).eval()
    nn.init.zeros_(block.body[-1].weight)
    x = torch.randn(2, 3, 6, 6)
    normal = x / (1 + block.first[0].eps) ** 0.5
    expected = nn.functional.conv2d(normal.relu(), block.shortcut.weight, stride=2)
    torch.testing.assert_close(block(x), expected)


def test_convolutions_of_wide_networks_are_normal_with_the_variance_that_relu_wants():
    torch.manual_seed(0)
    network = PreActivationResNet(3, 10, stem=16, widths=(64, 64, 64), blocks=1, activation=nn.ReLU)
    assert network[2].body[0].weight.var().item() == pytest.approx(2 / (64 * 9), rel=0.05)
    assert not network[-1].bias.any()
