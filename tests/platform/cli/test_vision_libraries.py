"""Networks of timm and torchvision, and torchvision's transforms: alone, in sweeps, and refused in a line."""

import sys
from pathlib import Path

import pytest
import torch
import yaml
from own_files import draw_photos
from torch.utils.data import TensorDataset
from vision_libraries import vision

from regbench.methods.errors import ConfigError, SurroundingsError
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.augmentation import composition, two_views
from regbench.methods.shared.backbone import head
from regbench.methods.shared.data import Data
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage

__all__ = ["vision"]

# A network of few parameters that timm has for tests; with batch normalization and ReLU.
SMALL = "timm:test_resnet"
SHORT = {"epochs": 1, "batch_size": 16}
VIT = {"architecture": "timm:test_vit", "architecture_settings": {"img_size": 8, "patch_size": 4}}


def images(channels: int = 1, classes: int = 3, side: int = 8) -> Data:
    """Noise, brighter the larger the class."""
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> TensorDataset:
        y = torch.arange(count) % classes
        return TensorDataset(
            (torch.rand(count, channels, side, side, generator=generator) + y[:, None, None, None]) / classes, y
        )

    return Data("noise", draw(32), draw(16), draw(16), {"classes": classes, "shape": (channels, side, side)})


def trained(data: Data, **settings: object) -> tuple[Run, list[dict[str, float]]]:
    run = Run(data)
    return run, list(create("label_smoothing", SHORT | settings).train(run))


def statistics(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


@pytest.mark.parametrize("settings", [{"architecture": SMALL}, {"architecture": "timm:test_resnet.r160_in1k"}, VIT])
def test_a_network_of_timm_takes_the_channels_and_classes_of_the_data(vision, settings):
    run, (metrics,) = trained(images(), **settings)
    assert metrics["val/accuracy"] >= 0
    assert type(run.network).__module__.startswith("timm.models.")
    assert run.network.num_classes == head(run.network).out_features == 3
    assert next(run.network.parameters()).shape[1] == 1


def test_a_network_of_torchvision_takes_its_settings(vision):
    settings = {"architecture": "torchvision:resnet18", "architecture_settings": {"zero_init_residual": True}}
    network = create("cross_entropy", settings).build_model(images(channels=3))
    assert network.fc.out_features == 3
    assert not network.layer1[0].bn2.weight.any()
    assert create("cross_entropy", {"architecture": "torchvision:resnet18"}).build_model(images(3)).layer1[0].bn2.weight.all()


def test_batch_normalization_learns_in_training_and_from_nothing_else(vision):
    fresh = create("cross_entropy", {"architecture": SMALL}).build_model(images())
    counted = {name: count for name, count in statistics(fresh).items() if name.endswith("num_batches_tracked")}
    assert counted
    assert not any(counted.values())
    run, _ = trained(images(), architecture=SMALL)
    assert {int(statistics(run.network)[name]) for name in counted} == {2}


def test_weights_of_a_file_start_a_network_whose_backbone_stays(vision, tmp_path):
    saved = create("cross_entropy", {"architecture": SMALL}).build_model(images(classes=5))
    torch.save(saved.state_dict(), tmp_path / "weights.pt")
    given = {"architecture": SMALL, "initial_weights": str(tmp_path / "weights.pt")}
    run, _ = trained(images(), **given, backbone_rate=0)
    found, start = run.network.state_dict(), saved.state_dict()
    assert {name for name in found if found[name].shape != start[name].shape or not found[name].equal(start[name])} == {
        "fc.weight",
        "fc.bias",
    }
    moved, _ = trained(images(), **given, backbone_rate=0.1)
    assert not moved.network.state_dict()["conv1.0.weight"].equal(start["conv1.0.weight"])
    with pytest.raises(ConfigError, match=r"weights.pt has another shape: conv1.0.weight"):
        create("cross_entropy", given).build_model(images(channels=3))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"architecture": "timm:tset_resnet"}, "timm has no model 'tset_resnet'; did you mean 'test_resnet'?"),
        ({"architecture": "torchvision:resnet19"}, "torchvision has no classifier 'resnet19'; did you mean 'resnet18'?"),
        ({"architecture": "torchvision:fasterrcnn_resnet50_fpn"}, "torchvision has no classifier 'fasterrcnn_resnet50_fpn'"),
        ({"architecture": "torchvision:resnet18"}, "torchvision:resnet18 needs 3 channels, not 1: take one of timm"),
        ({"architecture": SMALL, "architecture_settings": {"wdth": 3}}, "unexpected keyword argument 'wdth'"),
        ({"architecture": "timm:test_vit"}, r"cannot take inputs \[2, 1, 8, 8\]: Input height \(8\) should be divisible"),
        ({"augmentation": ["v2:Rotation"]}, "no such transform; did you mean 'v2:RandomRotation'?"),
        ({"augmentation": [{"v2:RandomRotation": {"degreees": 3}}]}, "unexpected keyword argument 'degreees'"),
        ({"augmentation": ["v2:RandomRotation"]}, "missing 1 required positional argument: 'degrees'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(vision, settings, says):
    with pytest.raises(ConfigError, match=says) as refusal:
        create("cross_entropy", settings).require_parts(images())
    assert "\n" not in str(refusal.value)


def test_what_a_network_gives_in_training_alone_is_looked_at_too(vision):
    settings = {"architecture": "torchvision:googlenet", "architecture_settings": {"init_weights": False}}
    with pytest.raises(ConfigError, match=r"maps inputs \[2, 3, 16, 16\] to \[GoogLeNetOutputs\] in training"):
        create("cross_entropy", settings).build_model(images(channels=3, side=16))
    settings["architecture_settings"]["aux_logits"] = False
    create("cross_entropy", settings).build_model(images(channels=3, side=16))


def test_networks_of_libraries_refuse_tables_and_crrelu_what_has_no_relu(vision):
    table = Data("table", None, None, None, {"classes": 2, "shape": (4,)})
    with pytest.raises(ConfigError, match=r"timm:test_resnet needs images, not inputs of shape \(4,\)"):
        create("cross_entropy", {"architecture": SMALL}).build_model(table)
    with pytest.raises(ConfigError, match=r"CRReLU takes the place of nn\.ReLU modules: timm:test_vit has GELU"):
        create("crrelu", VIT).build_model(images())


# Transforms


def drawn(steps: list, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return composition(steps)(x, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
def test_transforms_are_drawn_by_the_generator_for_each_image(vision, channels):
    x = torch.rand(1, channels, 16, 16, generator=torch.Generator().manual_seed(0)).repeat(6, 1, 1, 1)
    state = torch.get_rng_state()
    steps = ["crop", "v2:RandAugment", {"v2:ColorJitter": {"brightness": 0.5}}]
    found = drawn(steps, x)
    assert torch.equal(found, drawn(steps, x))
    assert not torch.equal(found, drawn(steps, x, seed=1))
    assert torch.equal(state, torch.get_rng_state())
    assert len(drawn([{"v2:ColorJitter": {"brightness": 0.5}}], x).flatten(1).unique(dim=0)) == 6
    both = two_views(x[:1], composition(["v2:RandomPerspective", {"v2:ColorJitter": {"brightness": 0.5}}]), torch.Generator())
    assert both.shape == (2, channels, 16, 16)
    assert not torch.equal(*both)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"v2:CenterCrop": {"size": 4}}, r"makes something else of images than numbers of shape \(3, 8, 8\)"),
        ("v2:ToPILImage", "makes something else of images"),
        ("v2:ElasticTransform", "Padding size should be less than the corresponding input dimension"),
        ("v2:MixUp", "labels"),
    ],
)
def test_what_cannot_be_done_with_images_alone_is_refused_in_a_line(vision, step, says):
    with pytest.raises(ConfigError, match=says) as refusal:
        drawn([step], torch.rand(2, 3, 8, 8))
    assert "\n" not in str(refusal.value)


def test_a_training_with_transforms_follows_its_seed_and_goes_on_as_it_would_have(vision):
    settings = {"epochs": 2, "batch_size": 16, "augmentation": ["v2:RandAugment", {"v2:RandomErasing": {"p": 0.5}}]}
    method = create("cross_entropy", settings)
    whole = list(method.train(Run(images())))
    assert whole == list(method.train(Run(images())))
    assert whole != list(create("cross_entropy", settings | {"augmentation": "none"}).train(Run(images())))
    run = Run(images())
    next(method.train(run))
    assert list(method.train(Run(images(), checkpoint=run.state()))) == whole[1:]


# Sweeps

SUITE = {
    "name": "photos",
    "methods": ["label_smoothing"],
    "data": {"photos": {"images": "photos"}},
    "settings": {"epochs": 1, "augmentation": ["v2:RandAugment", "flip"]},
    "trials": 1,
    "sampler": "random",
    "confirm": {"seeds": 1, "ablate": False},
    "execution": "inline",
}


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("REGBENCH_TRACKING", "none")
    draw_photos(tmp_path / "photos")
    return tmp_path


def write(folder: Path, **settings: object) -> None:
    (folder / "suite.yaml").write_text(yaml.safe_dump(SUITE | {"settings": SUITE["settings"] | settings}))


def test_photographs_are_swept_with_a_network_and_transforms_of_libraries(vision, desk, fresh):
    write(desk, architecture=SMALL, architecture_settings={"drop_rate": 0.1}, backbone_rate=0.5)
    fresh.succeeds(desk, "sweep", "suite.yaml")
    rows = Records(Storage(desk / "regbench-results" / "photos")).trials().to_pylist()
    assert {row["entry"] for row in rows} == {"cross_entropy", "label_smoothing"}
    assert {row["status"] for row in rows} == {"completed"}


def test_coloured_photographs_are_learned_by_a_network_of_torchvision(vision, desk, fresh):
    write(desk, architecture="torchvision:resnet18")
    assert "needs 3 channels, not 1" in fresh.refused(desk, "sweep", "suite.yaml")
    draw_photos(desk / "coloured", mode="RGB")
    network = ["--set", "architecture=torchvision:resnet18", "--set", "architecture_settings={zero_init_residual: true}"]
    said = fresh.succeeds(desk, "run", "mixup", "--data", "{images: coloured}", "--set", "epochs=1", *network)
    assert "val/accuracy" in said


NO_OPERATORS = "raise RuntimeError('operator torchvision::nms does not exist')"


@pytest.mark.parametrize(
    ("architecture", "code", "says"),
    [
        ("timm:resnet18", None, "needs the package timm: pip install 'regbench[timm]'"),
        ("torchvision:resnet18", None, "needs the package torchvision: pip install 'regbench[vision]'"),
        ("torchvision:resnet18", NO_OPERATORS, "needs torchvision, whose build does not fit the one of PyTorch here"),
        ("timm:resnet18", "raise ImportError('Python\\nis old')", "needs timm, which cannot be imported here: Python is old"),
    ],
)
def test_a_library_that_is_missing_or_broken_is_told_before_a_sweep(desk, fresh, monkeypatch, architecture, code, says):
    package = architecture.partition(":")[0]
    if code is None:
        monkeypatch.setitem(sys.modules, package, None)
    else:
        (desk / f"{package}.py").write_text(code)
        monkeypatch.delitem(sys.modules, package, raising=False)
        monkeypatch.syspath_prepend(desk)
    write(desk, architecture=architecture, augmentation="none")
    assert f"error: architecture {architecture} {says}" in fresh.refused(desk, "sweep", "suite.yaml")
    assert not (desk / "regbench-results" / "photos").exists()
    if package == "torchvision":
        with pytest.raises(SurroundingsError, match=f"augmentation v2:RandAugment {says[:20]}"):
            composition(["v2:RandAugment"])
