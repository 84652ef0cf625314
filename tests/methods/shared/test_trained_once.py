"""Networks that are trained once for all processes."""

import sys

import platformdirs
import pytest
import torch
from torch import nn

from regbench.methods.sampling import denoisers
from regbench.methods.shared.data import load
from regbench.methods.shared.trained_once import trained_once


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The user's cache folder, empty."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "regbench-networks" / "kind"


def filled(value, settings="3 steps", tensor=None):
    """A network whose training sets all parameters to a value; and how often it was trained."""
    network, trained = nn.Linear(2, 2), []

    def train(found):
        trained.append(value)
        for parameter in found.parameters():
            nn.init.constant_(parameter, value)

    trained_once("kind", network, train, settings, (sys.modules[__name__],), (torch.ones(3) if tensor is None else tensor,))
    return network.weight[0, 0].item(), len(trained)


def test_the_second_process_reads_what_the_first_has_trained(cache):
    assert filled(1.0) == (1.0, 1)
    assert filled(2.0) == (1.0, 0)
    assert len(list(cache.iterdir())) == 1


def test_other_settings_or_data_are_another_network(cache):
    filled(1.0)
    assert filled(2.0, settings="4 steps") == (2.0, 1)
    assert filled(3.0, tensor=torch.zeros(3)) == (3.0, 1)
    assert filled(4.0) == (1.0, 0)


def test_a_damaged_file_is_as_good_as_none(cache):
    filled(1.0)
    (path,) = cache.iterdir()
    path.write_bytes(b"nothing")
    assert filled(2.0) == (2.0, 1)
    assert filled(3.0) == (2.0, 0)


def test_a_folder_that_cannot_be_written_keeps_nothing(cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file")
    assert filled(1.0) == (1.0, 1)
    assert filled(2.0) == (2.0, 1)


def test_a_denoiser_is_trained_once_and_leaves_random_numbers_as_they_were(cache, monkeypatch):
    monkeypatch.setattr(denoisers, "STEPS", 2)
    state = torch.get_rng_state()
    first = denoisers.trained_denoiser(load("digit_images"))
    assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.setattr(denoisers, "learn_to_denoise", lambda *_: pytest.fail("it was trained again"))
    again = denoisers.trained_denoiser(load("digit_images"))
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
