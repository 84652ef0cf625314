"""Simulated dynamics: what is known of each system holds in its trajectories; published flows are read, and damage refused."""

import numpy as np
import pytest
import torch

from regbench.methods.errors import DataError
from regbench.methods.shared.data import load
from regbench.methods.shared.data.cfdbench import cfdbench_cylinder, read_flows
from regbench.methods.shared.data.dynamical_systems import lorenz_field, simulate, van_der_pol_field, wake_field

SYSTEMS = {
    "van_der_pol": (80, 20),
    "lorenz63": (200, 3),
    "pendulum": (80, 3),
    "double_well": (80, 2),
    "cylinder_wake": (120, 64),
}


@pytest.mark.parametrize(("name", "shape"), SYSTEMS.items(), ids=SYSTEMS)
def test_splits_are_standardized_by_the_training_one(name, shape):
    data = load(name)
    sizes = {split: getattr(data, split).tensors[0].shape for split in ("train", "validation", "test")}
    assert sizes == {"train": (40, *shape), "validation": (20, *shape), "test": (20, *shape)}
    x = data.train.tensors[0].double()
    assert x.mean((0, 1)).abs().max() < 1e-5
    assert (x.std((0, 1), unbiased=False) - 1).abs().max() < 1e-5
    assert data.meta["shape"] == shape[1:]


def test_linear_systems_by_the_matrix_exponential():
    start = np.array([[1.0, 0.0], [0.3, -2.0]])
    found = simulate(lambda x: np.stack([x[:, 1], -x[:, 0]], axis=1), start, 30, 0.2)
    time = 0.2 * np.arange(30)
    np.testing.assert_allclose(found[:, :, 0], start[:, :1] * np.cos(time) + start[:, 1:] * np.sin(time), atol=1e-7)


def test_the_lorenz_system_against_runge_kutta_with_small_steps():
    x = start = np.array([[1.0, 2.0, 20.0]])
    for _ in range(5000):
        a = lorenz_field(x)
        b = lorenz_field(x + 1e-4 * a)
        c = lorenz_field(x + 1e-4 * b)
        x = x + 2e-4 / 6 * (a + 2 * b + 2 * c + lorenz_field(x + 2e-4 * c))
    np.testing.assert_allclose(simulate(lorenz_field, start, 11, 0.1)[:, -1], x, atol=1e-5)


def test_fixed_points_of_the_lorenz_system_stay():
    root = np.sqrt(8 / 3 * 27)
    np.testing.assert_allclose(lorenz_field(np.array([[root, root, 27.0], [0.0, 0.0, 0.0]])), 0, atol=1e-12)


def test_the_frequency_of_the_van_der_pol_oscillator():
    x = simulate(van_der_pol_field, np.array([[2.0, 0.0]]), 20000, 0.01)[0, 5000:, 0]
    rises = np.flatnonzero((x[:-1] < 0) & (x[1:] >= 0))
    period = 0.01 * np.diff(rises).mean()
    assert 2 * np.pi / period == pytest.approx(load("van_der_pol").meta["frequency"], rel=1e-3)


def test_the_wake_ends_on_the_unit_circle_at_frequency_one():
    found = simulate(wake_field, np.array([[0.05, 0.0, 0.0]]), 601, 0.2)[0]
    np.testing.assert_allclose(np.hypot(*found[-100:, :2].T), 1, atol=1e-4)
    np.testing.assert_allclose(found[-100:, 2], 1, atol=1e-3)
    turned = np.unwrap(np.arctan2(found[-100:, 1], found[-100:, 0]))
    assert np.diff(turned).mean() / 0.2 == pytest.approx(1, abs=1e-6)


def test_the_wake_has_three_modes():
    x = load("cylinder_wake").test.tensors[0].flatten(0, 1).double()
    values = torch.linalg.svdvals(x - x.mean(0))
    assert values[3] < 1e-5 * values[0] < values[2]


def test_the_pendulum_keeps_its_energy():
    """θ'² / 2 - cos θ, from states that are unscaled by the identity cos² + sin² = 1: any two components fix the scale."""
    start = np.array([[1.2, 0.0], [2.4, 0.0]])
    found = simulate(lambda x: np.stack([x[:, 1], -np.sin(x[:, 0])], axis=1), start, 200, 0.1)
    energy = found[..., 1] ** 2 / 2 - np.cos(found[..., 0])
    np.testing.assert_allclose(energy, energy[:, :1] * np.ones(200), atol=1e-7)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    (tmp_path / "cfdbench").mkdir()
    return tmp_path / "cfdbench"


def test_flows_are_read_and_standardized_by_channel(folder):
    random = np.random.default_rng(0)
    train, rest = (
        random.normal([[[1.0]], [[5.0]]], [[[2.0]], [[0.5]]], (count, 51, 2, 64, 64)).astype(np.float32) for count in (2, 3)
    )
    np.save(folder / "cylinder_train_data.npy", train)
    np.save(folder / "cylinder_val_data.npy", rest)
    data = cfdbench_cylinder()
    assert [len(split) for split in (data.train, data.validation, data.test)] == [2, 2, 1]
    (x,) = data.train.tensors
    assert x.mean((0, 1, 3, 4)).abs().max() < 1e-4
    assert (x.std((0, 1, 3, 4)) - 1).abs().max() < 1e-4
    scale, mean = train.std((0, 1, 3, 4)), train.mean((0, 1, 3, 4))
    back = data.test.tensors[0][0].numpy() * scale[:, None, None] + mean[:, None, None]
    np.testing.assert_allclose(back, rest[1], atol=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((2, 60, 64, 64, 2)), r"not trajectories of frames"),
        (np.zeros((2, 60, 2, 64, 64), dtype=int), r"not trajectories of frames"),
        (np.zeros((1, 50, 2, 64, 64)), r"50 frames, but forecasts need at least 51"),
        (b"no array", r"is damaged, copy it again"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "flows.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(DataError, match=message):
        read_flows(path)


def test_a_single_trajectory_cannot_be_shared(folder):
    for name in ("train", "val"):
        np.save(folder / f"cylinder_{name}_data.npy", np.zeros((1, 51, 2, 64, 64), dtype=np.float32))
    with pytest.raises(DataError, match="validation and test need one each"):
        cfdbench_cylinder()
