"""The networks of the discovery track: cosines, pretraining, and DINO's transformer against PyTorch's own layers."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity, interpolate

from regbench.methods.discovery import networks
from regbench.methods.discovery.networks import (
    DinoEncoder,
    Discoverer,
    convolutions,
    dino_encoder,
    dino_names,
    vision_transformer,
)
from regbench.methods.errors import DataError
from regbench.methods.shared.augmentation import Views
from regbench.methods.shared.data import load


def test_logits_are_cosines_with_prototypes_and_projections_three_layers():
    torch.manual_seed(0)
    network, x = Discoverer(nn.Flatten(), 12, 5, 7, 3), torch.randn(4, 3, 2, 2)
    found = network(x)
    expected = cosine_similarity(x.flatten(1)[:, None], network.prototypes.weight, dim=2)
    torch.testing.assert_close(found.logits, expected)
    h = x.flatten(1)
    for number in (0, 2):
        h = nn.functional.gelu(network.projector[number](h))
    torch.testing.assert_close(found.projections, network.projector[4](h))
    assert network.projector[0].weight.std().item() == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize(("side", "inner"), [(8, 4), (14, 4), (28, 7), (32, 8)])
def test_convolutions_standardize_and_halve(side, inner):
    x = 3 + 2 * torch.randn(20, 2, side, side)
    encoder = convolutions(x, 6)
    standard = encoder[0](x)
    torch.testing.assert_close(standard.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(standard.std((0, 2, 3)), torch.ones(2), atol=1e-5, rtol=0)
    assert encoder[-1].in_features == 6 * inner * inner
    assert encoder(x).shape == (20, 6)


def test_the_pretrained_encoder_is_the_same_whatever_the_seed_and_leaves_random_numbers_alone():
    data, settings = load("digits_discovery"), (Views(), 4, 1)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, features = networks.pretrained("conv", data, *settings)
    assert torch.equal(torch.rand(3), expected)
    assert features == 4
    assert networks.pretrained("conv", data, *settings)[0] is first
    networks.pretrained.cache_clear()
    torch.manual_seed(2)
    again, _ = networks.pretrained("conv", data, *settings)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    untrained, _ = networks.pretrained("conv", data, Views(), 4, 0)
    assert not torch.equal(untrained[1].weight, first[1].weight)


def dino_state(blocks, width):
    """Random parameters under the names of DINO's vision transformer."""
    shapes = {"norm1": (width,), "norm2": (width,), "attn.qkv": (3 * width, width), "attn.proj": (width, width)}
    shapes |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    state = {"cls_token": torch.randn(1, 1, width), "pos_embed": 0.1 * torch.randn(1, 197, width)}
    state |= {"patch_embed.proj.weight": 0.05 * torch.randn(width, 3, 16, 16), "patch_embed.proj.bias": torch.randn(width)}
    state |= {"norm.weight": torch.rand(width), "norm.bias": torch.randn(width)}
    for number in range(blocks):
        for part, shape in shapes.items():
            state[f"blocks.{number}.{part}.weight"] = torch.rand(shape) if len(shape) == 1 else 0.2 * torch.randn(shape)
            state[f"blocks.{number}.{part}.bias"] = 0.1 * torch.randn(shape[0])
    return state


def test_dinos_parameters_give_what_pytorchs_encoder_layers_give():
    torch.manual_seed(0)
    blocks, width, heads = 2, 24, 3
    state = dino_state(blocks, width)
    ours = vision_transformer(blocks, width, heads)
    ours.load_state_dict(dino_names(state))
    x = torch.randn(2, 3, 224, 224)
    patches = nn.functional.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=16)
    tokens = torch.cat([state["cls_token"].expand(2, -1, -1), patches.flatten(2).transpose(1, 2)], 1) + state["pos_embed"]
    names = {"norm1": "norm1", "norm2": "norm2", "mlp.fc1": "linear1", "mlp.fc2": "linear2", "attn.proj": "self_attn.out_proj"}
    for number in range(blocks):
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
        )
        theirs = {
            f"{name}.{kind}": state[f"blocks.{number}.{part}.{kind}"]
            for part, name in names.items()
            for kind in ("weight", "bias")
        }
        theirs |= {f"self_attn.in_proj_{kind}": state[f"blocks.{number}.attn.qkv.{kind}"] for kind in ("weight", "bias")}
        layer.load_state_dict(theirs)
        tokens = layer(tokens)
    expected = nn.functional.layer_norm(tokens[:, 0], (width,), state["norm.weight"], state["norm.bias"], 1e-6)
    torch.testing.assert_close(ours(x), expected, atol=1e-4, rtol=1e-4)


def test_dinos_last_block_alone_learns_and_images_are_enlarged():
    encoder = DinoEncoder(vision_transformer(2, 24, 3))
    learning = {name.rpartition("blocks.")[2][:1] for name, p in encoder.named_parameters() if p.requires_grad}
    assert learning == {"1"}
    grey = torch.rand(1, 1, 28, 28)
    with torch.no_grad():
        found = encoder(grey)
        x = interpolate(grey, size=(224, 224), mode="bicubic").expand(-1, 3, -1, -1)
        mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        torch.testing.assert_close(found, encoder.network((x - mean) / deviation))


def test_dinos_file_is_read_or_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"put dino_vitbase16_pretrain\.pth into"):
        dino_encoder()
    (tmp_path / "dino").mkdir()
    path = tmp_path / "dino" / "dino_vitbase16_pretrain.pth"
    monkeypatch.setattr(networks, "vision_transformer", lambda: vision_transformer(2, 24, 3))
    state = dino_state(2, 24)
    torch.save(state, path)
    encoder = networks.dino_encoder()
    assert torch.equal(encoder.network.blocks[1].mlp[1].weight, state["blocks.1.mlp.fc1.weight"])
    torch.save({"head.weight": torch.zeros(3)}, path)
    with pytest.raises(DataError, match="holds no ViT-B/16 of DINO"):
        networks.dino_encoder()
