"""EDM's network, its training loss, and its checkpoints, read without running the source code that they carry."""

import pickle
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from regbench.methods.errors import DataError
from regbench.methods.sampling import denoisers
from regbench.methods.sampling.checkpoint import read_checkpoint
from regbench.methods.sampling.denoisers import denoiser_of, denoising_loss, learn_to_denoise
from regbench.methods.sampling.networks import PreconditionedDenoiser, UNet
from regbench.methods.shared.data import load

CPU = torch.device("cpu")


def tiny(seed=0, **options):
    """A network of few channels with random parameters throughout."""
    torch.manual_seed(seed)
    network = PreconditionedDenoiser(UNet(8, 3, 8, (1, 2), 1, **options))
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.0, 0.2)
    return network.eval()


def images(count=4, seed=0):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_preconditioning_has_its_limits():
    network = tiny()
    x = images()
    # σ → 0: the image itself; σ → ∞ scales the network's output by σ_d.
    assert torch.allclose(network(x, torch.tensor(1e-4)), x, atol=1e-3)
    raw = network.model(x / (100**2 + 0.25) ** 0.5, torch.full((4,), 100.0).log() / 4)
    assert torch.allclose(network(x, torch.tensor(100.0)), 0.25 / (100**2 + 0.25) * x + 0.5 * raw, atol=1e-3)
    assert network(x.double(), torch.tensor(1.0, dtype=torch.float64)).dtype == torch.float64
    each = torch.tensor([0.1, 0.5, 2.0, 10.0])
    alone = [network(x[row : row + 1], sigma) for row, sigma in enumerate(each)]
    assert torch.allclose(network(x, each), torch.cat(alone), atol=1e-5)


def test_loss_is_that_of_the_raw_network():
    # In terms of F, all noise levels have weight 1: (F(c_in y) - (x - c_skip y) / c_out)².
    network, clean, noise = tiny(), images(), images(seed=1)
    sigma = torch.tensor([0.05, 0.3, 1.0, 6.0])
    level = sigma[:, None, None, None]
    noisy, total = clean + level * noise, (level**2 + 0.25).sqrt()
    raw = network.model(noisy / total, sigma.log() / 4)
    target = (clean - 0.25 / total**2 * noisy) / (level * 0.5 / total)
    assert denoising_loss(network, clean, sigma, noise).item() == pytest.approx((raw - target).square().mean().item(), rel=1e-3)


def test_learning_denoises_a_constant_image(monkeypatch):
    monkeypatch.setattr(denoisers, "STEPS", 60)
    monkeypatch.setattr(denoisers, "BATCH", 16)
    monkeypatch.setattr(denoisers, "AVERAGING", 0.8)
    torch.manual_seed(0)
    clean = torch.full((16, 1, 8, 8), 0.5)
    network = PreconditionedDenoiser(UNet(8, 1, 8, (1,), 1))
    learn_to_denoise(network, clean)
    noisy = clean + torch.randn_like(clean)
    # The best linear estimate that knows deviation 0.5 alone is off by about 0.45.
    assert (network.eval()(noisy, torch.tensor(1.0)) - clean).square().mean().sqrt() < 0.2


class Persistent:
    """Pickles a module as EDM's checkpoints do: a call that would compile and run source code, with the state beside it."""

    def __init__(self, module, **extra):
        self.module, self.extra = module, extra

    def __reduce__(self):
        parts = {name: None if part is None else Persistent(part) for name, part in self.module._modules.items()}
        state = {
            "_parameters": dict(self.module._parameters),
            "_buffers": {},
            "_modules": parts,
            "training": False,
        } | self.extra
        reconstruct = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj
        source = "raise SystemExit('the source code was run')"
        return reconstruct, ({"type": "class", "version": 6, "module_src": source, "class_name": "Net", "state": state},)


@pytest.fixture
def edm(tmp_path, monkeypatch):
    """Writes a checkpoint of a network into a folder of data; returns the network."""
    module = ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise SystemExit("the source code was run")

    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    monkeypatch.setitem(sys.modules, "torch_utils", ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    (tmp_path / "edm").mkdir()

    def write(**changes):
        network = tiny(attention=(4,), augmentations=9)
        made = {
            "model_type": "SongUNet",
            "model_channels": 8,
            "channel_mult": [1, 2],
            "num_blocks": 1,
            "attn_resolutions": [4],
            "augment_dim": 9,
        }
        whole = nn.Module()
        whole.model = network.model
        attributes = {"img_resolution": 8, "img_channels": 3, "label_dim": 0, "sigma_data": 0.5}
        content = {"ema": Persistent(whole, _init_kwargs=made | changes, **attributes), "augment_pipe": Persistent(nn.ReLU())}
        (tmp_path / "edm" / "tiny.pkl").write_bytes(pickle.dumps(content))
        return network

    write.folder = tmp_path / "edm"
    return write


def test_a_checkpoint_is_read_and_its_code_is_not_run(edm):
    network = edm()
    found = read_checkpoint("tiny.pkl").eval()
    x, sigma = images(), torch.tensor(0.7)
    assert torch.equal(found(x, sigma), network(x, sigma))
    served = denoiser_of(load("digit_images"), "tiny.pkl", CPU)
    assert torch.equal(served(x, sigma), network(x, sigma))


def test_a_checkpoint_of_another_form_is_refused(edm):
    edm(embedding_type="fourier")
    with pytest.raises(DataError, match="embedding_type fourier"):
        read_checkpoint("tiny.pkl")
    edm(num_blocks=2)
    with pytest.raises(DataError, match="another form"):
        read_checkpoint("tiny.pkl")


class Malicious:
    """Would run a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_cannot_call_anything(edm):
    (edm.folder / "tiny.pkl").write_bytes(pickle.dumps({"ema": Malicious(str(edm.folder / "written"))}))
    with pytest.raises(DataError, match=r"no checkpoint of EDM"):
        read_checkpoint("tiny.pkl")
    assert not (edm.folder / "written").exists()
    (edm.folder / "tiny.pkl").write_bytes(b"\x80\x04}")
    with pytest.raises(DataError, match="damaged"):
        read_checkpoint("tiny.pkl")
    with pytest.raises(DataError, match=r"missing\.pkl"):
        read_checkpoint("missing.pkl")
