import pytest
import torch
from torch.nn.functional import mse_loss

from regbench.methods.disentanglement.adversarial import Critic, Generated, Generator, latent_loss
from regbench.methods.disentanglement.infowgan import InfoWGAN
from regbench.methods.disentanglement.latents import ScalarQuantizer
from regbench.methods.disentanglement.networks import Size
from regbench.methods.disentanglement.quantized_infogan import QuantizedInfoGAN
from regbench.methods.run import Run

SHAPE, SIZE, LATENTS = (1, 4, 4), Size(8, 4, 1, 1), 3


@pytest.fixture
def parts():
    """Networks in double precision, real images, generated ones, and shares."""
    torch.manual_seed(0)
    latent = ScalarQuantizer(LATENTS, 4)
    generator = Generator("dense", SHAPE, latent, SIZE).double()
    critic = Critic("dense", SHAPE, LATENTS, SIZE).double()
    drawn = latent.sample(6, torch.Generator().manual_seed(0))
    real, share = torch.rand(6, *SHAPE, dtype=torch.float64), torch.rand(6, 1, 1, 1, dtype=torch.float64)
    return generator, critic, drawn, real, share


def by_hand(generator, critic, fake):
    """Latent, quantization and commitment losses of generated images, with the released weights."""
    found = generator.latent(critic(fake.x).code)
    gap = (found.continuous - found.quantized).square().mean()
    return 200 * mse_loss(found.quantized, fake.z) + 0.01 * gap + 0.01 * gap


def test_the_critics_loss_is_the_released_sum(parts):
    generator, critic, drawn, real, share = parts
    with torch.no_grad():
        fake = generator(drawn)
    method = QuantizedInfoGAN()
    loss = method.critic_loss(critic, generator.latent, real, fake, share, method.weight_values())
    norms = []
    for one, other, part in zip(real, fake.x, share, strict=True):
        between = (part * one + (1 - part) * other)[0][None].requires_grad_()
        norms.append(torch.autograd.grad(critic(between).value.sum(), between)[0].norm())
    expected = (critic(fake.x).value - critic(real).value).mean() + 10 * (torch.stack(norms) - 1).square().mean()
    assert loss.item() == pytest.approx((expected + by_hand(generator, critic, fake)).item(), rel=1e-9)


def test_the_generators_loss_reaches_the_codebooks_through_what_is_drawn_from_them(parts):
    generator, critic, drawn, _, _ = parts
    method = QuantizedInfoGAN(quantization_weight=0.0)
    fake = generator(drawn)
    method.generator_loss(critic, generator.latent, fake, method.weight_values()).backward()
    assert generator.latent.codebooks.grad.abs().sum() > 0
    method = QuantizedInfoGAN()
    fake = generator(drawn)
    loss = method.generator_loss(critic, generator.latent, fake, method.weight_values())
    expected = by_hand(generator, critic, fake) - critic(fake.x).value.mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)


def test_latent_loss_is_a_mean_over_latents():
    assert latent_loss(torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2)).tolist() == [5]
    assert Generated(torch.zeros(1), torch.ones(1)).z.item() == 1


def test_steps_of_the_critic_leave_the_generator_alone():
    settings = {"iterations": 4, "report_every": 4, "batch_size": 16, "hidden_dim": 16, "num_latents": 4, "judged": 50}
    states = []
    for every in (5, 4):
        run = Run("scenes")
        for _ in QuantizedInfoGAN(**settings, generator_every=every).train(run):
            pass
        states.append(run.state()["state"]["generator"])
    start = states[0]["latent.codebooks"]
    assert torch.equal(start, torch.linspace(-0.5, 0.5, 10).repeat(4, 1))
    assert not torch.equal(states[1]["latent.codebooks"], start)


def test_switched_off_it_is_the_infowgan():
    off = QuantizedInfoGAN().baseline()
    assert not off.quantize
    assert off.build_latent(Run("scenes").data).discrete is InfoWGAN().build_latent(Run("scenes").data).discrete is False
