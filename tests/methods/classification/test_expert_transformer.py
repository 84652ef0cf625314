import copy

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from regbench.methods import Run
from regbench.methods.classification.architectures import build
from regbench.methods.classification.expert_transformer import RoutedExperts, with_experts
from regbench.methods.classification.sparse_router import SparseRouter
from regbench.methods.classification.transformer import VisionTransformer, perceptron
from regbench.methods.shared.data import load


def routed(plan, width=6):
    torch.manual_seed(0)
    return RoutedExperts([perceptron(width, nn.ReLU) for _ in range(plan.shape[1])], width, lambda scores: plan)


def test_a_token_is_the_weighted_sum_of_the_experts_that_take_it():
    plan = torch.tensor([[0.1, 0, 0.2], [0, 0.1, 0], [0, 0, 0], [0.1, 0.1, 0.1], [0, 0, 0.3], [0.1, 0, 0]])
    layer, x = routed(plan), torch.randn(2, 3, 6)
    found = layer(x)
    tokens = x.reshape(6, 6)
    gates = layer.router(tokens).softmax(1)
    for i, row in enumerate(found.reshape(6, 6)):
        parts = [gates[i, j] * layer.experts[j](tokens[i]) for j in range(3) if plan[i, j]]
        torch.testing.assert_close(row, sum(parts, torch.zeros(6)))
    assert torch.equal(layer.taken, plan > 0)


def test_gradients_reach_the_router_and_every_expert_as_if_all_were_computed():
    plan = torch.tensor([[0.1, 0, 0], [0.1, 0.2, 0], [0, 0.1, 0], [0, 0, 0]])
    layer, x = routed(plan), torch.randn(1, 4, 6)
    layer(x).square().sum().backward()
    found = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    tokens = x[0]
    every = torch.stack([expert(tokens) for expert in layer.experts], 1)
    ((layer.router(tokens).softmax(1) * (plan > 0))[:, :, None] * every).sum(1).square().sum().backward()
    for gradient, parameter in zip(found, layer.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)
    # An expert without tokens has a gradient of 0, not none: distributed training waits for it.
    assert not any(gradient.any() for gradient in found[-4:])


def test_two_blocks_have_experts_and_the_others_stay():
    options = {"patch": 4, "width": 8, "heads": 2, "blocks": 6, "activation": nn.GELU}
    network = with_experts(VisionTransformer((1, 8, 8), 10, **options), 3, nn.GELU, lambda scores: scores > 0)
    kinds = [isinstance(block.mlp[1], RoutedExperts) for block in network.blocks]
    assert kinds == [False, False, False, True, False, True]
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_with_one_expert_that_takes_all_it_is_the_network_without():
    options = {"patch": 4, "width": 8, "heads": 2, "blocks": 3, "activation": nn.GELU}
    plain = VisionTransformer((1, 8, 8), 10, **options)
    network = with_experts(copy.deepcopy(plain), 1, nn.GELU, torch.ones_like)
    for routed_block, block in zip(network.blocks, plain.blocks, strict=True):
        if isinstance(routed_block.mlp[1], RoutedExperts):
            routed_block.mlp[0] = block.mlp[0]
            routed_block.mlp[1].experts[0] = block.mlp[1:]
    x = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(network(x), plain(x))


@pytest.mark.parametrize("count", [16, 10])
def test_patches_of_a_mini_batch_fill_experts_up_to_the_share_of_so_many_images(count):
    method = SparseRouter(architecture="deit_ti", batch_size=16, experts=4, max_nonzeros=6, solver_steps=20)
    network = method.build_model(load("digits"))
    x = load("digits").train.tensors[0][:count]
    assert network(x).shape == (count, 10)
    tokens = 5 * count  # four patches and the class token
    layers = [layer for layer in network.modules() if isinstance(layer, RoutedExperts)]
    assert len(layers) == 2
    for layer in layers:
        assert layer.taken.shape == (tokens, 4)
        assert 0 < layer.taken.sum(0).max() <= -(-6 * tokens // 16)


def test_without_routers_two_mlps_fewer_and_their_experts_more():
    size = sum(p.numel() for p in build("deit_ti", (1, 8, 8), 10, "relu").parameters())
    mlp = 192 * 768 + 768 + 768 * 192 + 192
    network = SparseRouter(architecture="deit_ti", experts=3, max_nonzeros=64).build_model(load("digits"))
    assert sum(p.numel() for p in network.parameters()) == size + 2 * (2 * mlp + 193 * 3)


def test_evaluation_reports_how_patches_were_routed():
    method = SparseRouter(architecture="deit_ti", batch_size=16, experts=4, max_nonzeros=6, solver_steps=20)
    network = method.build_model(load("digits")).eval()
    x, y = (tensor[:32] for tensor in load("digits").train.tensors)
    found = method.evaluate(network, TensorDataset(x, y), Run("digits"))
    taken = []
    for part in x.split(16):
        network(part)
        taken += [layer.taken.double() for layer in network.modules() if isinstance(layer, RoutedExperts)]
    assert found["experts_per_token"] == pytest.approx(torch.cat(taken).sum(1).mean().item())
    assert found["unrouted"] == pytest.approx((torch.cat(taken).sum(1) == 0).double().mean().item())
    spread = [part.sum(0).std(correction=0) / part.sum(0).mean() for part in taken]
    assert found["load_cv"] == pytest.approx(torch.stack(spread).mean().item())
    assert 0 <= found["accuracy"] <= 1
