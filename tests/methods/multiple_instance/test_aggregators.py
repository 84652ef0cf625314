"""Aggregators against independent implementations, and what must not change what they say about a bag."""

import math

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from torch import nn

from regbench.methods.multiple_instance.aggregators import MultiHeadAttention, build
from regbench.methods.multiple_instance.task import probabilities

NAMES = ("gated_attention", "attention", "multi_head_attention", "dsmil", "mean")
FEATURES, CLASSES, WIDTH, HIDDEN = 5, 3, 16, 6
COUNTS = (4, 1, 7)


def built(name):
    torch.manual_seed(0)
    model = build(name, FEATURES, CLASSES, WIDTH, HIDDEN).double().eval()
    # At the initialization of the query all heads attend uniformly, which would hide mistakes.
    if isinstance(model, MultiHeadAttention):
        nn.init.normal_(model.query)
    return model


def bags(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, FEATURES, dtype=torch.float64, generator=generator) for count in COUNTS]


def alone(model, x):
    return model(x[None], torch.ones(1, len(x), dtype=torch.bool))


def arrays(model):
    return {name: value.detach().numpy() for name, value in model.named_parameters()}


@pytest.mark.parametrize("gated", [True, False])
def test_attention_pooling_is_what_its_equations_say(gated):
    model = built("gated_attention" if gated else "attention")
    w = arrays(model)
    (x, *_) = bags()
    h = np.maximum(x.numpy() @ w["projection.0.weight"].T, 0)
    hidden = np.tanh(h @ w["content.weight"].T + w["content.bias"])
    if gated:
        hidden *= expit(h @ w["gate.weight"].T + w["gate.bias"])
    a = softmax(hidden @ w["score.weight"][0] + w["score.bias"])
    found = alone(model, x)
    np.testing.assert_allclose(found.attention.softmax(2)[0, 0].detach(), a)
    np.testing.assert_allclose(found.logits[0].detach(), w["classifier.weight"] @ (a @ h) + w["classifier.bias"])


def test_mean_pooling_is_the_mean():
    model = built("mean")
    (x, *_) = bags()
    torch.testing.assert_close(alone(model, x).logits[0], model.classifier(model.projection(x).mean(0)))


def test_multi_head_attention_is_torchs():
    model = built("multi_head_attention")
    theirs = nn.MultiheadAttention(WIDTH, 8, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in (model.queries, model.keys, model.values)]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in (model.queries, model.keys, model.values)]))
        theirs.out_proj.load_state_dict(model.output[0].state_dict())
    for x in bags():
        h = model.projection(x)
        mixed, maps = theirs(model.query[None], h, h, average_attn_weights=False)
        found = alone(model, x)
        torch.testing.assert_close(found.attention.softmax(2)[0], maps[:, 0])
        normalized = nn.functional.layer_norm(mixed[0], (WIDTH,), eps=1e-6)
        torch.testing.assert_close(found.logits[0], model.classifier(normalized))


def test_dual_stream_is_the_loop_over_classes():
    """By hand, with the convolution over class-wise means that the original uses as its last layer."""
    model = built("dsmil")
    w = arrays(model)
    last = nn.Conv1d(CLASSES, CLASSES, FEATURES, dtype=torch.float64)
    with torch.no_grad():
        last.weight.copy_(model.classifier.weight.view(CLASSES, CLASSES, FEATURES))
        last.bias.copy_(model.classifier.bias)
    for tensor in bags():
        x = tensor.numpy()
        scores = x @ w["instance_classifier.weight"].T + w["instance_classifier.bias"]
        q = x @ w["query.weight"].T + w["query.bias"]
        maps = [softmax(q @ q[scores[:, c].argmax()] / math.sqrt(WIDTH)) for c in range(CLASSES)]
        found = alone(model, tensor)
        np.testing.assert_allclose(found.attention.softmax(2)[0].detach(), maps)
        np.testing.assert_allclose(found.critical[0].detach(), scores.max(0))
        means = torch.tensor(np.stack(maps) @ x)
        torch.testing.assert_close(found.logits[0], last(means[None])[0, :, 0])
        expected = 0.5 * softmax(found.logits[0].detach()) + 0.5 * softmax(scores.max(0))
        np.testing.assert_allclose(probabilities(found)[0].detach(), expected)


@pytest.mark.parametrize("name", NAMES)
def test_padding_has_no_influence(name):
    """A batch of bags of different sizes gives what each bag gives alone, whatever stands behind its end."""
    model = built(name)
    singles = bags()
    x = torch.full((len(COUNTS), max(COUNTS), FEATURES), 1e3, dtype=torch.float64)
    present = torch.zeros(x.shape[:2], dtype=torch.bool)
    for number, single in enumerate(singles):
        x[number, : len(single)], present[number, : len(single)] = single, True
    together = model(x, present)
    together.logits.square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for number, single in enumerate(singles):
        found = alone(model, single)
        torch.testing.assert_close(found.logits[0], together.logits[number])
        torch.testing.assert_close(found.attention[0], together.attention[number, :, : len(single)])
        assert together.attention[number, :, len(single) :].isneginf().all()
        found.logits.square().sum().backward()
    for name, p in model.named_parameters():
        assert (name in gradients) == (p.grad is not None)
        if p.grad is not None:
            torch.testing.assert_close(p.grad, gradients[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_instances_does_not_matter(name):
    model = built(name)
    x = bags()[2]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    first, second = alone(model, x), alone(model, x[order])
    torch.testing.assert_close(second.logits, first.logits)
    torch.testing.assert_close(second.attention, first.attention[:, :, order])


def test_heads_drop_in_training_only():
    model = built("multi_head_attention")
    (x, *_) = bags()
    assert torch.equal(alone(model, x).logits, alone(model, x).logits)
    model.train()
    assert not torch.equal(alone(model, x).logits, alone(model, x).logits)


def test_the_query_starts_near_zero():
    torch.manual_seed(0)
    query = build("multi_head_attention", FEATURES, CLASSES, 4096, HIDDEN).query
    assert query.std().item() == pytest.approx(1e-6, rel=0.1)
