import pytest
import torch
from torch import nn

from regbench.methods.disentanglement.autoencoder import PlainAutoencoder
from regbench.methods.disentanglement.biological_autoencoder import activity_loss, nonnegative_loss
from regbench.methods.disentanglement.latent_quantization import LatentQuantization
from regbench.methods.disentanglement.latents import ScalarQuantizer
from regbench.methods.disentanglement.networks import Autoencoder, Size, StyleDecoder
from regbench.methods.disentanglement.task import Batch, decaying
from regbench.methods.errors import ConfigError
from regbench.methods.registry import create
from regbench.methods.run import Run

SMALL = {"iterations": 8, "report_every": 8, "batch_size": 16, "hidden_dim": 16, "num_latents": 4, "judged": 50}
SCENE = (3, 16, 16)


def trained(method, **run):
    run = Run("scenes", **run)
    for _ in method.train(run):
        pass
    return run.state()["state"]["model"]


def batch(method, run):
    x = run.data.train.tensors[0][:16]
    return Batch(x, torch.randn(16, method.num_latents), 1, len(run.data.train))


# The optimizer


def test_without_its_loss_the_codebook_stays_where_it_starts():
    state = trained(LatentQuantization(**SMALL, quantization_weight=0.0))
    assert torch.equal(state["latent.codebooks"], torch.linspace(-0.5, 0.5, 10).repeat(4, 1))
    moved = trained(LatentQuantization(**SMALL))
    assert not torch.equal(moved["latent.codebooks"], state["latent.codebooks"])


def test_weights_decay_and_biases_and_codebooks_do_not():
    method = LatentQuantization(**SMALL, learning_rate=0.01)
    network = method.build_model(Run("scenes").data)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = method.adam(network)
    method.descend(0.0 * sum(parameter.sum() for parameter in network.parameters()), optimizer)
    for name, value in network.state_dict().items():
        kept = name.endswith("bias") or name == "latent.codebooks"
        torch.testing.assert_close(value, before[name] * (1 if kept else 1 - 0.01 * 0.1), rtol=1e-6, atol=0)


def test_without_decay_it_is_adam_behind_an_elementwise_clip():
    method = LatentQuantization(**SMALL, weight_decay=0.0)
    torch.manual_seed(0)
    network = method.build_model(Run("scenes").data)
    other = method.build_model(Run("scenes").data)
    other.load_state_dict(network.state_dict())
    plain = torch.optim.Adam(other.parameters(), lr=method.learning_rate)
    optimizer = method.adam(network)
    for step in range(3):
        x = 50.0 * torch.randn(8, *SCENE, generator=torch.Generator().manual_seed(step))
        method.descend(1e3 * network(x).logits.square().mean(), optimizer)
        plain.zero_grad()
        (1e3 * other(x).logits.square().mean()).backward()
        for name, parameter in other.named_parameters():
            if name.endswith("weight"):
                parameter.grad.clamp_(-1, 1)
        plain.step()
    for parameter, expected in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-4, atol=1e-6)


# The objective


def test_the_objective_is_the_sum_of_its_parts():
    method = LatentQuantization(**SMALL, quantization_weight=0.3, commitment_weight=0.7)
    run = Run("scenes")
    network = method.build_model(run.data)
    given = batch(method, run)
    loss, found = method.objective(network, given, method.weight_values())
    x = given.x.double()
    p = found.logits.double().sigmoid()
    rec = -(x * p.log() + (1 - x) * (1 - p).log()).mean()
    gap = (found.latents.continuous - found.latents.quantized).double().square().mean()
    assert loss.item() == pytest.approx((rec + gap).item(), rel=1e-5)


def test_switched_off_it_is_the_autoencoder():
    off = trained(LatentQuantization(**SMALL).baseline())
    plain = trained(PlainAutoencoder(**SMALL))
    assert all(torch.equal(off[name], value) for name, value in plain.items())


def test_nonnegative_and_small_latents():
    z = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    assert nonnegative_loss(z).tolist() == [1, 0]
    assert activity_loss(z).tolist() == [2.5, 4.5]


@pytest.mark.parametrize("slug", ["autoencoder", "latent_quantization", "beta_vae", "beta_tcvae", "vqvae"])
def test_mixed_precision_leaves_the_losses_in_single(slug):
    method = create(slug, SMALL | {"mixed_precision": True})
    run = Run("scenes")
    network = method.build_model(run.data)
    exact, _ = method.objective(network, batch(method, run), method.weight_values())
    loss, _ = method.objective(method.prepare(network, run), batch(method, run), method.weight_values())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.05)


# The networks


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_networks_of_the_paper_have_the_layers_of_the_released_code():
    network = Autoencoder("convolutional", (3, 64, 64), ScalarQuantizer(12, 10), Size(256, 32, 4, 3))
    before, convolutions = 3, 0
    for after in (32, 64, 128, 256):
        convolutions += 9 * before * after + 9 * after**2 + 16 * after**2 + 3 * 2 * after
        before = after
    dense = (256 * 4 * 4 + 1) * 256 + 257 * 256
    assert count(network.encoder) == convolutions + dense + 257 * 12
    before, blocks = 256, 0
    for after in (256, 128, 64, 32):
        blocks += 9 * before * after + 9 * after**2 + 16 * after**2 + 3 * 257 * 2 * after
        before = after
    assert count(network.decoder) == blocks + 256 * 4 * 4 + 13 * 256 + 257 * 256 + 9 * 32 * 3
    assert network(torch.rand(2, 3, 64, 64)).logits.shape == (2, 3, 64, 64)
    decayed, free = decaying(network)
    assert any(parameter is network.decoder.map for parameter in decayed)
    assert any(parameter is network.latent.codebooks for parameter in free)


def test_style_blocks_normalize_each_channel_and_then_scale_it():
    decoder = StyleDecoder((3, 8, 8), 5, Size(16, 4, 2, 1))
    block, style = decoder.blocks[0], torch.randn(3, 16)
    x = decoder.map.expand(3, -1, -1, -1) + torch.randn(3, 8, 2, 2)
    scale, shift = block.conditioning(style).chunk(2, 1)
    plain = nn.functional.instance_norm(nn.functional.leaky_relu(block.convolution(x), 0.2), eps=1e-6)
    expected = plain * scale[:, :, None, None] + shift[:, :, None, None]
    torch.testing.assert_close(block(x, style), expected, atol=1e-5, rtol=1e-5)


def test_images_that_cannot_be_halved_so_often_are_refused():
    with pytest.raises(ConfigError, match="set fewer groups"):
        Autoencoder("convolutional", (1, 28, 28), ScalarQuantizer(2, 3), Size(8, 4, 4, 1))
