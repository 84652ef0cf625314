import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from regbench.methods.errors import ConfigError
from regbench.methods.generative.networks import Discriminator, generator
from regbench.methods.registry import create


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("architecture", "shape"), [("small", (1, 8, 8)), ("dcgan", (3, 16, 16)), ("dcgan", (1, 32, 32))])
def test_images_and_codes_have_their_shapes(architecture, shape):
    images = generator(architecture, 5, shape)(torch.randn(4, 5))
    assert images.shape == (4, *shape)
    assert images.abs().max() <= 1
    codes = Discriminator(architecture, shape, 6, stochastic=True)(images, torch.zeros(4, 6))
    assert codes.shape == (4, 6)


def test_the_networks_for_cifar_10_have_the_layers_of_the_released_code():
    # Transposed convolutions from 1 x 1, without biases: 64 -> 512 -> 256 -> 128 -> 3 channels, and a normalization between.
    layers = generator("dcgan", 64, (3, 32, 32))
    assert count(layers) == 16 * (64 * 512 + 512 * 256 + 256 * 128 + 128 * 3) + 2 * (512 + 256 + 128)
    # Convolutions without biases: 3 -> 128 -> 256 -> 512 channels, and mean and variance of 16 numbers from 512 x 4 x 4.
    network = Discriminator("dcgan", (3, 32, 32), 16, stochastic=True)
    assert count(network) == 16 * (3 * 128 + 128 * 256 + 256 * 512) + 512 * 16 * 32
    shapes = []
    x = torch.rand(2, 3, 32, 32)
    for layer in network.body:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(128, 16, 16), (256, 8, 8), (512, 4, 4)]


def test_the_small_networks_are_as_small_as_they_were():
    assert count(generator("small", 32, (1, 8, 8))) == 32 * 256 + 2 * 64 + 64 * 32 * 16 + 2 * 32 + 32 * 16 + 1
    assert count(Discriminator("small", (1, 8, 8), 16, stochastic=False)) == 17 * 32 + 32 * 64 * 16 + 64 + 256 * 16


def test_every_layer_of_a_discriminator_has_spectral_norm_one():
    network = Discriminator("dcgan", (3, 16, 16), 4, stochastic=True)
    for _ in range(50):
        network(torch.rand(2, 3, 16, 16), torch.zeros(2, 4))
    network.eval()
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        assert parametrize.is_parametrized(layer, "weight")
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item() == pytest.approx(1, abs=0.02)


def test_weights_of_a_dcgan_start_small_and_normal():
    torch.manual_seed(0)
    network = generator("dcgan", 64, (3, 32, 32))
    for layer in network:
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 24, 24), (3, 16, 32), (3, 28, 28)])
def test_a_dcgan_refuses_what_it_cannot_double(shape):
    with pytest.raises(ConfigError, match="squares of 16, 32, 64"):
        generator("dcgan", 8, shape)


def test_the_small_networks_refuse_larger_images():
    with pytest.raises(ConfigError, match="use dcgan"):
        Discriminator("small", (3, 32, 32), 8, stochastic=True)


@pytest.mark.parametrize("method", ["wgan", "nonsaturating_gan", "manifold_entropy_gan"])
def test_every_method_takes_either_architecture(method):
    assert create(method, {"architecture": "dcgan", "samples": 10_000}).architecture == "dcgan"
