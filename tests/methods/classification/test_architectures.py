import pytest
import torch
from torch import nn

from regbench.methods.classification.architectures import build
from regbench.methods.classification.transformer import SelfAttention, VisionTransformer
from regbench.methods.errors import ConfigError
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import load


@pytest.mark.parametrize("architecture", ["mlp", "deep_mlp", "tiny_vit"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 4, 6)])
def test_logits_for_every_shape_of_image(architecture, shape):
    network = build(architecture, shape, 7, "relu")
    assert network(torch.rand(5, *shape)).shape == (5, 7)


@pytest.mark.parametrize("shape", [(1, 7, 8), (1, 8, 9), (64,)])
def test_the_transformer_refuses_what_it_cannot_cut_into_patches(shape):
    with pytest.raises(ConfigError, match="patches of 2 x 2"):
        build("tiny_vit", shape, 10, "relu")


@pytest.mark.parametrize(("activation", "module"), [("relu", nn.ReLU), ("gelu", nn.GELU), ("prelu", nn.PReLU)])
@pytest.mark.parametrize(("architecture", "layers"), [("mlp", 2), ("deep_mlp", 10), ("tiny_vit", 2)])
def test_the_hidden_activation_is_chosen_by_a_setting(architecture, layers, activation, module):
    network = create("cross_entropy", {"architecture": architecture, "activation": activation}).build_model(load("digits"))
    found = [layer for layer in network.modules() if isinstance(layer, nn.ReLU | nn.GELU | nn.PReLU)]
    assert [type(layer) for layer in found] == [module] * layers
    assert len(set(map(id, found))) == layers


def test_the_transformer_has_the_size_that_its_layers_add_up_to():
    # Patches, class token, positions, two blocks (two norms, four square maps, an MLP of ratio 4), norm and logits.
    block = 2 * 64 + 4 * (32 * 32 + 32) + (32 * 128 + 128) + (128 * 32 + 32)
    size = (4 * 32 + 32) + 32 + 17 * 32 + 2 * block + 64 + (32 * 10 + 10)
    assert sum(p.numel() for p in build("tiny_vit", (1, 8, 8), 10, "relu").parameters()) == size


def test_deit_ti_has_its_published_size():
    """5.7 million parameters for ImageNet (table 1 of Touvron et al.), 5,717,416 in the released networks."""
    options = {"patch": 16, "width": 192, "heads": 3, "blocks": 12, "activation": nn.GELU}
    with torch.device("meta"):
        network = VisionTransformer((3, 224, 224), 1000, **options)
        small = build("deit_ti", (3, 32, 32), 10, "gelu")
    size = sum(p.numel() for p in network.parameters())
    assert size == 5_717_416
    # Patches of a quarter of the side, 64 in place of 196 positions, ten classes in place of a thousand.
    patches, positions, logits = 3 * (16**2 - 4**2) * 192, (196 - 64) * 192, 990 * 193
    assert sum(p.numel() for p in small.parameters()) == size - patches - positions - logits


def test_attention_equals_torchs():
    mine, reference = SelfAttention(32, 4), nn.MultiheadAttention(32, 4, batch_first=True)
    reference.load_state_dict(
        {
            "in_proj_weight": mine.projections.weight,
            "in_proj_bias": mine.projections.bias,
            "out_proj.weight": mine.output.weight,
            "out_proj.bias": mine.output.bias,
        }
    )
    x = torch.randn(3, 9, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mine(x), reference(x, x, x)[0])


def test_the_transformer_sees_where_a_patch_is():
    network = build("tiny_vit", (1, 8, 8), 10, "relu")
    image = torch.zeros(1, 1, 8, 8)
    image[..., :2, :2] = 1
    assert (network(image) - network(image.flip(3))).abs().max() > 1e-6


def test_the_transformer_can_be_differentiated_twice():
    network = build("tiny_vit", (1, 4, 4), 3, "gelu")
    x = torch.rand(2, 1, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert x.grad.abs().max() > 0


def test_the_transformer_learns_the_digits():
    settings = {"architecture": "tiny_vit", "optimizer": "adam", "learning_rate": 3e-3, "epochs": 8, "schedule": "cosine"}
    *_, last = create("cross_entropy", settings | {"gradient_clip": 1.0}).train(Run("digits"))
    assert last["val/accuracy"] > 0.4


def test_a_clipped_step_is_no_longer_than_its_limit():
    # One batch, one step: SGD's first step with Nesterov momentum 0.9 is 1.9 times the gradient.
    settings = {"epochs": 1, "batch_size": 900, "learning_rate": 1.0, "weight_decay": 0.0}
    steps = []
    for limit in (None, 0.01):
        method = create("cross_entropy", settings | {"gradient_clip": limit})
        run = Run("digits")
        start = nn.utils.parameters_to_vector(method.build_model(run.data).parameters()).detach()
        run = Run("digits")
        list(method.train(run))
        end = torch.cat([value.flatten() for value in run.state()["state"]["model"].values()])
        steps.append((end - start).norm().item())
    assert steps[1] == pytest.approx(1.9 * 0.01, rel=1e-3)
    assert steps[0] > 2 * steps[1]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_that_goes_on_with_another_configuration_follows_that_one(optimizer):
    first = Run("digits")
    next(create("cross_entropy", {"optimizer": optimizer, "epochs": 2, "weight_decay": 1e-4}).train(first))
    second = Run("digits", checkpoint=first.state())
    list(
        create("cross_entropy", {"optimizer": optimizer, "epochs": 2, "weight_decay": 0.03, "learning_rate": 0.02}).train(
            second
        )
    )
    (group,) = second.state()["state"]["optimizer"]["param_groups"]
    assert group["weight_decay"] == 0.03
    assert group["lr"] == pytest.approx(0.02 * 0.1)  # the second half of the steps
