import math

import pytest
import torch

from regbench.methods.language.entropies import entropy_penalty, largest_entropy, row_entropies
from regbench.methods.language.entropy_guided_attention import EntropyGuidedAttention
from regbench.methods.language.language_model import LanguageModeling
from regbench.methods.language.networks import Attention, LanguageModel, Shape
from regbench.methods.language.task import Batch
from regbench.methods.run import Run

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
ROWS = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.3, 0.5, 0], [0.25] * 4]
LARGEST = math.log(4)


def heads(dtype=torch.float64):
    """The entropies of one head, one layer and one window."""
    return row_entropies(torch.tensor(ROWS, dtype=dtype))[None, None, None]


def penalty(theta, gamma, statistics="head_mean", dtype=torch.float64):
    thresholds = torch.tensor([[theta]], dtype=dtype, requires_grad=True)
    found = entropy_penalty(heads(dtype), thresholds, gamma, LARGEST, statistics)
    (slope,) = torch.autograd.grad(found, thresholds, allow_unused=True)
    return found.item(), slope.item()


@DTYPES
def test_entropies_of_rows(dtype):
    assert heads(dtype).flatten().tolist() == pytest.approx([0, 0.693147, 1.029653, 1.386294], abs=1e-6)
    assert heads(dtype).mean().item() == pytest.approx(0.777274, abs=1e-6)


@DTYPES
@pytest.mark.parametrize(
    ("theta", "gamma", "expected", "slope"),
    [(0.5, 0.05, 0.007077, -2 * 0.084126 * LARGEST), (0.5, 0.2, 0, 0), (0.2, 0.2, 0.250015, -1.386335), (0.9, 1.0, 0, 0)],
)
def test_penalty_of_a_head(theta, gamma, expected, slope, dtype):
    assert penalty(theta, gamma, dtype=dtype) == pytest.approx((expected, slope), abs=1e-5)


@DTYPES
@pytest.mark.parametrize(("theta", "gamma", "expected"), [(0.5, 0.05, 1.074142), (0.5, 0.2, 1.074142), (0.25, 0.2, 1.787843)])
def test_penalty_of_queries(theta, gamma, expected, dtype):
    assert penalty(theta, gamma, "per_query_sum", dtype)[0] == pytest.approx(expected, abs=1e-5)
    assert penalty(theta, gamma, "per_query_mean", dtype)[0] == pytest.approx(expected / 4, abs=1e-5)


def test_invariances():
    stream = torch.Generator().manual_seed(0)
    found, theta = 2 * torch.rand(3, 2, 4, 8, generator=stream), torch.rand(3, 4, generator=stream)
    order = torch.tensor([2, 0, 3, 1])
    for statistics, factor in (("head_mean", 1), ("per_query_mean", 1), ("per_query_sum", 2)):
        value = entropy_penalty(found, theta, 0.1, 2.0, statistics)
        moved = entropy_penalty(found[:, :, order], theta[:, order], 0.1, 2.0, statistics)
        twice = entropy_penalty(found.repeat(1, 2, 1, 1), theta, 0.1, 2.0, statistics)
        torch.testing.assert_close(moved, value)
        torch.testing.assert_close(twice, factor * value)


@pytest.mark.parametrize(("context", "expected"), [(64, 3.205753), (128, 3.878168), (256, 4.559599), (512, 5.246212)])
def test_uniform_causal_attention_is_the_most_a_head_can_have(context, expected):
    rows = torch.ones(context, context, dtype=torch.float64).tril()
    uniform = row_entropies(rows / rows.sum(1, keepdim=True)).mean().item()
    assert largest_entropy(context, "causal") == pytest.approx(expected, abs=1e-6)
    assert uniform == pytest.approx(expected, abs=1e-5)
    assert largest_entropy(context) == math.log(context)


def test_entropy_rises_with_the_temperature():
    """dE/dt = Var_a(s) / t³."""
    s = torch.tensor([1, 0.5, -0.2, 0], dtype=torch.float64)

    def entropy(t):
        return row_entropies((s / t).softmax(0))

    found = [entropy(t).item() for t in (0.1, 0.5, 1, 2, 10)]
    assert found == pytest.approx([0.040753, 1.003412, 1.276005, 1.358356, 1.385200], abs=1e-6)
    t = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(entropy(t), t)
    a = (s / 0.7).softmax(0)
    assert slope.item() == pytest.approx(0.556339, abs=1e-5)
    assert slope.item() == pytest.approx((((a * s * s).sum() - (a * s).sum() ** 2) / 0.7**3).item(), abs=1e-6)


def test_gradients_by_finite_differences():
    scores = torch.randn(1, 2, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    t = torch.full((2, 3), 0.8, dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([[0.1, 0.9]], dtype=torch.float64, requires_grad=True)

    def value(scores, t, theta):
        return entropy_penalty(row_entropies((scores / t[:, :, None]).softmax(-1)), theta, 0.05, math.log(3))

    assert value(scores, t, theta) > 0
    assert torch.autograd.gradcheck(value, (scores, t, theta))


def shape(**settings):
    return Shape(**{
        **{"vocabulary": 11, "context": 6, "layers": 2, "width": 8, "heads": 2, "layer_norm": False, "feed": "fused"},
        **{"feed_norm": "none", "temperature": None, "threshold": None, "scale": 1.0}, **settings,
    })  # fmt: skip


def test_attention_is_torchs():
    torch.manual_seed(0)
    attention, x = Attention(shape(temperature=1.0)), torch.randn(3, 6, 8)
    torch_attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        torch_attention.in_proj_weight.copy_(attention.projections.weight)
        torch_attention.in_proj_bias.copy_(attention.projections.bias)
        torch_attention.out_proj.weight.copy_(attention.output.weight)
        torch_attention.out_proj.bias.copy_(attention.output.bias)
    mask = torch.ones(6, 6, dtype=torch.bool).triu(1)
    expected, rows = torch_attention(x, x, x, attn_mask=mask, average_attn_weights=False)
    mixed, entropies = attention(x)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(entropies, torch.special.entr(rows).sum(3), atol=1e-6, rtol=0)


def test_two_linear_matrices_are_their_product():
    torch.manual_seed(0)
    linear, fused = LanguageModel(shape(feed="linear")), LanguageModel(shape())
    fused.load_state_dict({k: v for k, v in linear.state_dict().items() if "matrices" not in k}, strict=False)
    with torch.no_grad():
        for two, one in zip(linear.feeds, fused.feeds, strict=True):
            for matrix in two.matrices:
                matrix.bias.zero_()
            one.matrices[0].weight.copy_(two.matrices[1].weight @ two.matrices[0].weight)
    tokens = torch.randint(11, (4, 6))
    torch.testing.assert_close(linear(tokens).logits, fused(tokens).logits)


def test_a_temperature_of_one_is_none():
    torch.manual_seed(0)
    plain = LanguageModel(shape())
    tempered = LanguageModel(shape(temperature=1.0, threshold=0.5))
    tempered.load_state_dict(plain.state_dict(), strict=False)
    tokens = torch.randint(11, (4, 6))
    torch.testing.assert_close(plain(tokens).logits, tempered(tokens).logits)
    assert (tempered(tokens).entropies.mean(3) <= largest_entropy(6, "causal") + 1e-5).all()


def test_what_is_learned_of_scales_temperatures_and_thresholds_does_not_decay():
    network = LanguageModel(shape(temperature=0.1, threshold=0.5))
    decayed, free = network.groups(0.1)
    names = {id(value): name for name, value in network.named_parameters()}
    kept = {names[id(value)] for value in free["params"]}
    assert {"thresholds", "attentions.0.temperature", "feeds.1.alpha", "feeds.1.beta"} <= kept
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    assert {value.dim() for value in decayed["params"]} == {2}


@pytest.mark.parametrize(
    "settings",
    [
        {"layer_norm": True, "feed": "gelu"},
        {"feed": "relu"},
        {"feed": "linear", "feed_norm": "weight"},
        {"feed": "linear", "feed_norm": "spectral"},
        {"feed": "linear", "feed_norm": "scaled"},
    ],
)
def test_architectures_train(settings):
    method = LanguageModeling(
        **{"layer_norm": False} | settings, layers=1, width=8, heads=2, iterations=2, report_every=2, evaluated=8
    )
    (metrics,) = method.train(Run("python_source"))
    assert 50 < metrics["val/perplexity"] < 200


def test_thresholds_follow_the_entropies_unless_they_are_fixed():
    model = LanguageModel(shape(temperature=0.1, threshold=0.5)).double()
    batch = Batch(torch.randint(11, (4, 6)), torch.randint(11, (4, 6)))
    for fixed in (False, True):
        method = EntropyGuidedAttention(tolerance=0.0, fixed_thresholds=fixed)
        loss, _ = method.objective(model, batch, method.weight_values())
        (slope,) = torch.autograd.grad(loss, model.thresholds)
        assert (slope.abs().max() == 0) == fixed


def test_inside_the_tolerance_the_gradient_is_that_of_the_plain_model():
    model = LanguageModel(shape(temperature=0.1, threshold=0.5)).double()
    batch = Batch(torch.randint(11, (4, 6)), torch.randint(11, (4, 6)))
    method = EntropyGuidedAttention(tolerance=1.0)
    slopes = []
    for instance in (method, method.baseline()):
        loss, _ = instance.objective(model, batch, instance.weight_values())
        slopes.append(torch.autograd.grad(loss, list(model.parameters())))
    assert all(map(torch.equal, *slopes))
