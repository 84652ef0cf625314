import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio
from torch import nn
from torch.nn.functional import l1_loss

from regbench.methods.contract_trainings import smoke
from regbench.methods.errors import ConfigError
from regbench.methods.run import Run
from regbench.methods.shared.data import load
from regbench.methods.super_resolution import images, networks, search, spaces
from regbench.methods.super_resolution.adq import Residual
from regbench.methods.super_resolution.convolutions import QuantizedConvolution
from regbench.methods.super_resolution.mixed_precision import MixedPrecision
from regbench.methods.super_resolution.networks import Size
from regbench.methods.super_resolution.quantnas import QuantNAS
from regbench.methods.super_resolution.random_architecture import RandomArchitecture
from regbench.methods.super_resolution.search import Noise, Supernet
from regbench.methods.super_resolution.search_then_quantize import SearchThenQuantize
from regbench.methods.super_resolution.searching import Batch
from regbench.methods.super_resolution.spaces import Layer
from regbench.methods.super_resolution.task import Trained, excess, spread
from regbench.methods.super_resolution.uniform_quantization import UniformQuantization

SMALL = Size(scale=2, channels=12, cells=1, body=2, skip=1, head=1, tail=1)


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def supernet(kind="gaussian", space="rfdn", bits=(4, 8), catalogue=None, size=SMALL, deviation="adq"):
    torch.manual_seed(0)
    chosen = catalogue or spaces.CATALOGUES[space, "small"]
    return Supernet(space, size, chosen, bits, Noise(kind), deviation).double()


def test_entropy_and_its_gradient_are_the_closed_forms():
    alpha = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64, requires_grad=True)
    found = search.entropy([alpha])
    assert found.item() == pytest.approx(0.832396, abs=1e-6)
    (gradient,) = torch.autograd.grad(found, alpha)
    assert gradient.tolist() == pytest.approx([-0.282587, 0.140770, 0.141817], abs=1e-6)
    p = alpha.detach().softmax(0)
    torch.testing.assert_close(gradient, -p * (p.log() + found.detach()))


def test_entropy_is_largest_where_all_is_alike_and_nothing_where_all_is_decided():
    alike = torch.zeros(18, dtype=torch.float64, requires_grad=True)
    found = search.entropy([alike, alike])
    assert found.item() == pytest.approx(2 * math.log(18))
    (gradient,) = torch.autograd.grad(found, alike)
    assert gradient.abs().max() < 1e-15
    decided = torch.tensor([0.0, 2000.0, 0.0], requires_grad=True)  # p log p must not be 0 · -∞
    search.entropy([decided]).backward()
    assert search.entropy([decided]).item() == 0
    assert decided.grad.isfinite().all()
    assert search.normalized_entropy([torch.zeros(5), torch.zeros(3)]).item() == pytest.approx(1)
    assert search.normalized_entropy([torch.zeros(5), torch.zeros(1)]).item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("warmup", "expected"),
    [(9, {9: 0, 10: 0, 11: 6.0206e-5, 15: 4.66891e-4, 19: 1e-3}), (0, {0: 0, 4: 0, 5: 6.5789e-5, 19: 1e-3})],
)
def test_the_entropy_ramps_up_as_in_the_released_code(warmup, expected):
    for epoch, coefficient in expected.items():
        assert 1e-3 * search.entropy_ramp(epoch, 20, warmup) == pytest.approx(coefficient, rel=1e-4)
    assert search.entropy_ramp(3, 4, 3) == 1


def test_other_penalties_are_sums_over_choices():
    logits = [numbers(4), numbers(3, seed=1)]
    flat = torch.cat(logits)
    assert search.sparsity(logits, "l1").item() == pytest.approx(flat.abs().sum().item())
    assert search.sparsity(logits, "l1_softmax").item() == pytest.approx(flat.exp().sum().item())
    assert search.sparsity(logits, "none") == 0


def test_bit_operations_of_a_layer():
    """A 3 x 3 convolution of 48 channels on 45 x 45 pixels: 83,980,800 operations."""
    layer = Layer("body.0", "body", 48, 48, 48)
    assert spaces.cost("simple_3x3", layer) * 45**2 == 83_980_800
    logits = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    mixed = search.MixedOperation(layer, ("simple_3x3",), (4, 8), logits, Noise("gaussian")).double()
    assert mixed.bit_operations().item() * 45**2 == pytest.approx(503_884_800)
    logits.data[1] = 800
    assert mixed.bit_operations().item() * 45**2 == pytest.approx(83_980_800 * 8)


@pytest.mark.parametrize("space", ["rfdn", "sr"])
def test_bit_operations_of_a_network_are_those_of_its_convolutions(space):
    """What is sought, by the formula of a layer, and the rest, convolution by convolution; quadratic in bits."""
    places = networks.layers(space, SMALL)
    costs = {bits: networks.bit_operations(space, SMALL, spaces.fixed(places, space, bits)) for bits in (4, 8)}
    sought = sum(spaces.cost(spaces.REFERENCE[space][layer.kind], layer) for layer in places) * 32**2 * SMALL.cells
    assert costs[8] - costs[4] == sought * (64 - 16) / 2
    if space == "sr":
        assert costs[4] == sought * 8
    else:  # spatial attention: 32 -> 15 -> 3 pixels; the gathering and smoothing convolutions
        c, f, pixels = 12, 3, 32**2
        attention = 2 * ((2 * c * f + f * f) * pixels + 9 * f * f * (15**2 + 3 * 3**2))
        assert costs[4] == sought * 8 + 32 * (attention + 2 * (c * c + c * c + 9 * c * c) * pixels)


def test_a_mixed_operation_is_the_sum_of_its_operations():
    layer = Layer("body.0", "body", 4, 6, 4)
    logits = nn.Parameter(numbers(6))
    mixed = search.MixedOperation(layer, ("simple_1x1", "growth1_3x3", "conv_5x1_1x5"), (4, 8), logits, Noise("off")).double()
    x = numbers(2, 4, 7, 6)
    p = logits.softmax(0).reshape(3, 2)
    expected = sum(chain(x, part, 0.0) * part.sum() for chain, part in zip(mixed.operations, p, strict=True))
    torch.testing.assert_close(mixed(x), expected)
    mixed.decided = True
    place = int(logits.argmax())
    one_hot = nn.functional.one_hot(torch.tensor(place), 6).double().reshape(3, 2)
    torch.testing.assert_close(mixed(x), mixed.operations[place // 2](x, one_hot[place // 2], 0.0))


def test_adaptive_deviation():
    x = (torch.arange(24, dtype=torch.float64) / 24).reshape(1, 2, 3, 4)
    residual = Residual(2, "adq").double().eval()
    assert x.std().item() == pytest.approx(0.294628, abs=1e-6)
    assert residual.scale(x).item() == pytest.approx(0.441942, abs=1e-6)
    body = nn.Conv2d(2, 2, 1).double()
    normalized = x / math.sqrt(1 + 1e-5)  # running statistics at the start
    torch.testing.assert_close(residual(x, body), x + residual.scale(x) * body(normalized))
    nn.init.zeros_(residual.slope)
    torch.testing.assert_close(residual(x, body), x)
    nn.init.ones_(residual.offset)
    residual.normalize = nn.Identity()
    torch.testing.assert_close(residual(x, body), Residual(2, "plain")(x, body))
    ancestor = Residual(2, "adadm").double()
    assert ancestor.scale(x).item() == pytest.approx(x.std().item() ** 1.5)
    assert ancestor.scale(torch.ones_like(x)).isfinite().all()


@pytest.mark.parametrize("space", ["rfdn", "sr"])
@pytest.mark.parametrize("kind", ["gaussian", "uniform", "off"])
def test_a_supernet_enlarges_and_its_decided_form_is_its_architecture(space, kind):
    net = supernet(kind, space).eval()
    low = torch.rand(2, 3, 15, 16, dtype=torch.float64)
    assert net(low).shape == (2, 3, 30, 32)
    for number, alpha in enumerate(net.logits):
        alpha.data.copy_(numbers(len(alpha), seed=number))
    found = net.architecture()
    assert set(found) == {layer.name for layer in networks.layers(space, SMALL)}
    # All but the chosen operations may be anything when choices are decided.
    decided = net(low, decided=True)
    for mixture in net.mixtures():
        chosen = int(mixture.logits.argmax()) // 2
        for place, chain in enumerate(mixture.operations):
            if place != chosen:
                for parameter in chain.parameters():
                    parameter.data.fill_(1e3)
    torch.testing.assert_close(net(low, decided=True), decided)
    assert not torch.allclose(net(low), decided)


def test_negative_logits_are_compared_like_others():
    net = supernet()
    for alpha in net.logits:
        alpha.data.fill_(-2.0)
        alpha.data[3] = -1.0
    assert set(net.architecture().values()) == {(net.catalogue["body"][1], 8)}


def test_repeated_cells_of_the_sr_space_share_their_choices():
    size = Size(2, 12, 3, 2, 1, 2, 2)
    net = supernet(space="sr", size=size)
    assert len(net.mixtures()) == 2 + 3 * 3 + 1 + 2
    assert len(net.logits) == 2 + 3 + 1 + 2
    assert not {id(alpha) for alpha in net.logits} & {id(weight) for weight in net.weights()}
    assert len(net.weights()) + len(net.logits) == len(list(net.parameters()))


def batch(epoch=1):
    stream = torch.Generator().manual_seed(5)
    low, high = (torch.rand(2, 3, side, side, generator=stream, dtype=torch.float64) for side in (16, 32))
    return Batch(low, high, epoch)


def weights(**values):
    return SimpleNamespace(**({"entropy_weight": 0.0, "bitops_weight": 0.0, "noise_scale": 0.5} | values))


def loss_of(method, net, values, epoch=1):
    torch.manual_seed(7)
    return method.objective(net, batch(epoch), values)[0]


def test_without_its_weights_the_loss_of_choices_is_that_of_darts():
    method, net = smoke(QuantNAS), supernet()
    torch.manual_seed(7)
    plain = l1_loss(net(batch().low, 0.5), batch().high)
    expected = torch.autograd.grad(plain, list(net.logits))
    found = torch.autograd.grad(loss_of(method, net, weights()), list(net.logits))
    assert all(map(torch.equal, found, expected))


def test_the_loss_of_choices_is_the_sum_of_its_parts():
    method, net = smoke(QuantNAS).replace(search_epochs=20, entropy_warmup=9), supernet()
    for number, alpha in enumerate(net.logits):
        alpha.data.copy_(numbers(len(alpha), seed=number))
    uniform = supernet().bit_operations()
    plain = loss_of(method, net, weights(), epoch=15)
    found = loss_of(method, net, weights(entropy_weight=0.5, bitops_weight=0.25), epoch=15)
    expected = plain + 0.5 * 0.466891 * search.entropy(net.logits) + 0.25 * net.bit_operations() / uniform
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("name", ["entropy_weight", "bitops_weight"])
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_the_loss_of_choices_is_differentiable_in_the_weights(name, value):
    method, net = smoke(QuantNAS), supernet()
    weight = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss_of(method, net, weights(**{name: weight})), weight)
    above, below = (loss_of(method, net, weights(**{name: value + step})) for step in (1e-4, -1e-4))
    assert gradient.item() == pytest.approx((above - below).item() / 2e-4, rel=1e-6)


@pytest.mark.parametrize("factor", [0.1, -8.0])
def test_the_loss_of_choices_is_a_number_at_extremes(factor):
    method, net = smoke(QuantNAS), supernet().float()
    for parameter in net.parameters():
        parameter.data.mul_(factor)
    torch.manual_seed(0)
    given = Batch(batch().low.float(), torch.zeros(2, 3, 32, 32), 1)
    loss, _ = method.objective(net, given, weights(entropy_weight=1.0, bitops_weight=1.0, noise_scale=1.0))
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_a_single_candidate_leaves_nothing_to_choose():
    catalogue = dict.fromkeys(spaces.CATALOGUES["rfdn", "small"], ("simple_3x3",))
    net = supernet(catalogue=catalogue, bits=(8,))
    assert search.entropy(net.logits).item() == 0
    assert net.relative_bit_operations().item() == pytest.approx(1)
    method = smoke(QuantNAS)
    assert loss_of(method, net, weights(entropy_weight=1.0)).item() == loss_of(method, net, weights()).item()


def test_random_architectures_are_within_the_budget():
    run = Run("photographs_x4")
    reference = smoke(UniformQuantization)
    budget = reference.gbitops(spaces.fixed(reference.layers(run.data), "rfdn", 4), run.data) * 1.2
    method = smoke(RandomArchitecture).replace(budget=budget)
    found = [method.architecture(Run("photographs_x4", seed=seed)) for seed in range(3)]
    assert all(method.gbitops(architecture, run.data) <= budget for architecture in found)
    assert found[0] != found[1]
    with pytest.raises(ConfigError, match="raise it"):
        method.replace(budget=1e-3, draws=2).architecture(run)


def test_fixed_architectures_are_the_reference_and_the_largest():
    run = Run("photographs_x4")
    method = smoke(UniformQuantization).replace(bits=4)
    assert method.architecture(run)["body.0.0"] == ("simple_3x3", 4)
    assert method.architecture(run)["skip.0.0"] == ("simple_1x1", 4)
    largest = method.replace(operations_of="largest").architecture(run)
    # 2 · 9 · 12 · 12 operations against 25 · 12 · 12; in the upsampling 25 · 12 · 48 are more than 9 · 12 · (12 + 48).
    assert largest["body.0.0"] == ("simple_5x5", 4)
    assert largest["upsample.0"] == ("simple_5x5", 4)


def test_searches_end_with_the_choices_they_are_allowed():
    data = load("photographs_x4")
    assert smoke(MixedPrecision).supernet(data).architecture()["skip.0.0"] == ("simple_1x1", 4)
    method = smoke(SearchThenQuantize).replace(bits=3)
    net = method.supernet(data)
    assert net.bits == (32,)
    assert {bits for _, bits in method.decided(net).values()} == {3}
    with pytest.raises(ConfigError, match="entropy_warmup"):
        next(smoke(QuantNAS).replace(entropy_warmup=2).train(Run("photographs_x4")))


def test_weights_and_choices_are_learned_from_patches_of_different_images():
    data = load("photographs_x4").train
    first, second = QuantNAS(search_share=0.5).halves(data)
    assert len(first) == len(second) == 38  # half of 75
    rows = [{row.numpy().tobytes() for row in half.tensors[1]} for half in (first, second)]
    assert not rows[0] & rows[1]
    assert spread(data, 0, len(data), 1.0) is data


def test_a_supernets_weights_do_not_depend_on_what_choices_cost():
    def search_weights(**values):
        run = Run("photographs_x4")
        next(smoke(QuantNAS).replace(search_epochs=1, arch_learning_rate=1e-30, **values).train(run))
        return run.part("supernet").weights()

    plain, priced = search_weights(), search_weights(bitops_weight=10.0, entropy_weight=10.0)
    assert all(map(torch.equal, plain, priced))


def test_found_networks_are_judged_with_integers():
    run = Run("photographs_x4", test=True)
    metrics = list(smoke(QuantNAS).train(run))[-1]
    found = run.part("found")
    network = found.network.eval()
    scale = run.data.meta["scale"]
    psnr = images.mean_psnr(networks.integer_network(network), run.data.test, run)
    assert metrics["test/psnr"] == psnr
    assert images.mean_psnr(network, run.data.test, run) == pytest.approx(psnr, abs=1e-3)
    assert metrics["test/gbitops"] == smoke(QuantNAS).gbitops(found.architecture, run.data)
    assert scale == 4


def test_networks_go_on_from_a_state():
    data = load("photographs_x4")
    method = smoke(UniformQuantization).replace(bits=4)
    first, second = (method.trained(Run(data)) for _ in range(2))
    assert isinstance(first, Trained)
    assert first.state_dict() == {}
    first.start(method.architecture(Run(data)))
    second.load_state_dict(first.state_dict())
    assert second.architecture == first.architecture
    assert all(map(torch.equal, first.network.parameters(), second.network.parameters()))


def test_luminance_and_psnr_are_those_of_scikit_image():
    stream = torch.Generator().manual_seed(0)
    found, true = (torch.randint(256, (2, 3, 20, 24), generator=stream) / 255 for _ in range(2))
    for row in range(2):
        y, x = (rgb2ycbcr(image[row].permute(1, 2, 0).double().numpy())[4:-4, 4:-4, 0] for image in (found, true))
        expected = peak_signal_noise_ratio(x, y, data_range=255)
        assert images.luminance_psnr(found, true, 4)[row].item() == pytest.approx(expected, rel=1e-6)
    assert images.luminance_psnr(true, true, 2).tolist() == [100, 100]
    whole, part = images.luminance_psnr(found, true, 0), images.luminance_psnr(found[..., 4:-4, 4:-4], true[..., 4:-4, 4:-4], 0)
    assert not torch.allclose(whole, part)


def test_crops_of_both_resolutions_show_the_same():
    high = torch.arange(2 * 3 * 24 * 24).reshape(2, 3, 24, 24)
    low = high[..., ::4, ::4]
    a, b = images.cropped(low, high, 3, torch.Generator().manual_seed(0))
    assert a.shape == (2, 3, 3, 3)
    assert torch.equal(b[..., ::4, ::4], a)
    assert not torch.equal(a[0, 0] - low[0, 0, 0, 0], a[1, 0] - low[1, 0, 0, 0])


def test_a_cost_beyond_the_budget_is_worth_decibels():
    assert excess(0.3, 0.5) == 0
    assert excess(1.0, 0.5) == pytest.approx(10 * math.log10(2))


@pytest.mark.parametrize("space", ["rfdn", "sr"])
def test_every_released_operation_can_be_deployed(space):
    """The full catalogues, in the released sizes of cells; integers give what was trained."""
    size = Size(4, 12, 2, 3, 1, 2, 2)
    places = networks.layers(space, size)
    catalogue = spaces.CATALOGUES[space, "released"]
    low = torch.rand(1, 3, 16, 16)
    for number in range(3):
        architecture = spaces.random(places, catalogue, (4, 8), torch.Generator().manual_seed(number))
        network = networks.quantized_network(space, size, architecture, "adq").eval()
        deployed = networks.integer_network(network)
        assert not any(isinstance(module, QuantizedConvolution) for module in deployed.modules())
        np.testing.assert_allclose(deployed(low).detach(), network(low).detach(), atol=1e-4)
        assert network(low).shape == (1, 3, 64, 64)
