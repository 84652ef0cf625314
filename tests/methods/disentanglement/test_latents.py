import pytest
import torch
from torch.nn.functional import softplus

from regbench.methods.disentanglement.latents import (
    DiagonalGaussian,
    ScalarQuantizer,
    VectorQuantizer,
    commitment_loss,
    log_softplus,
    quantization_loss,
    quantize,
    quantize_vectors,
    straight_through,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def case(dtype):
    """Encoder outputs and codebooks, with gradients."""
    continuous = torch.tensor([[0.1, 0.2], [-0.3, -0.25], [0.6, 0.14]], dtype=dtype, requires_grad=True)
    codebooks = torch.tensor([[-0.5, 0, 0.5], [-0.4, 0, 0.3]], dtype=dtype, requires_grad=True)
    return continuous, codebooks


@DTYPES
def test_latents_become_their_nearest_values(dtype):
    continuous, codebooks = case(dtype)
    z, indices = quantize(continuous, codebooks)
    assert indices.tolist() == [[1, 2], [0, 0], [2, 1]]
    torch.testing.assert_close(z, torch.tensor([[0, 0.3], [-0.5, -0.4], [0.5, 0]], dtype=dtype))
    assert z.dtype == dtype
    for loss in (quantization_loss, commitment_loss):
        assert loss(continuous, z).mean().item() == pytest.approx(0.018683, abs=1e-6)


@DTYPES
def test_each_loss_moves_one_side(dtype):
    continuous, codebooks = case(dtype)
    z, _ = quantize(continuous, codebooks)
    quantization_loss(continuous, z).mean().backward()
    expected = [[-0.066667, -0.033333, -0.033333], [-0.05, -0.046667, 0.033333]]
    torch.testing.assert_close(codebooks.grad, torch.tensor(expected, dtype=dtype), atol=1e-6, rtol=0)
    assert continuous.grad is None
    codebooks.grad = None
    z, _ = quantize(continuous, codebooks)
    commitment_loss(continuous, z).mean().backward()
    expected = [[0.033333, -0.033333], [0.066667, 0.05], [0.033333, 0.046667]]
    torch.testing.assert_close(continuous.grad, torch.tensor(expected, dtype=dtype), atol=1e-6, rtol=0)
    assert codebooks.grad is None


@DTYPES
def test_the_decoders_gradient_passes_straight_through(dtype):
    continuous, codebooks = case(dtype)
    z, _ = quantize(continuous, codebooks)
    given = straight_through(continuous, z)
    torch.testing.assert_close(given, z)
    slopes = torch.tensor([[1.0, -2.0], [3.0, 0.5], [0.0, 1.0]], dtype=dtype)
    (slopes * given).sum().backward()
    torch.testing.assert_close(continuous.grad, slopes)
    assert codebooks.grad is None


def test_the_first_codebook_is_evenly_spaced_and_quantizing_twice_is_quantizing_once():
    latent = ScalarQuantizer(2, 10)
    z = latent(torch.tensor([[0.1, 0.9]])).quantized
    torch.testing.assert_close(z, torch.tensor([[0.055556, 0.5]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(latent(z).quantized, z, rtol=0, atol=0)


def test_of_equally_near_values_the_first_is_taken():
    z, indices = quantize(torch.tensor([[0.5]]), torch.tensor([[0.0, 1.0, 0.0]]))
    assert (z.item(), indices.item()) == (0, 0)


def test_one_codebook_may_serve_all_latents():
    continuous, _ = case(torch.float64)
    shared = torch.tensor([[-0.4, 0.0, 0.3]], dtype=torch.float64)
    z, indices = quantize(continuous, shared)
    expected, places = quantize(continuous, shared.repeat(2, 1))
    assert torch.equal(z, expected)
    assert torch.equal(indices, places)
    assert ScalarQuantizer(5, 4, shared=True).codebooks.shape == (1, 4)


def test_samples_are_uniform_over_codebook_values():
    latent = ScalarQuantizer(3, 4)
    drawn = latent.sample(4000, torch.Generator().manual_seed(0))
    assert drawn.shape == (4000, 3)
    assert (drawn.flatten().bincount() / 12000 - 0.25).abs().max() < 0.02
    values = latent.values(drawn)
    torch.testing.assert_close(values, latent.codebooks.detach()[0][drawn])


@DTYPES
def test_vectors_become_the_nearest_embeddings(dtype):
    stream = torch.Generator().manual_seed(0)
    x, embeddings = (torch.randn(*shape, generator=stream, dtype=dtype) for shape in ((6, 3, 4), (5, 4)))
    z, indices = quantize_vectors(x, embeddings)
    assert torch.equal(indices, torch.cdist(x.flatten(0, 1), embeddings).argmin(1).view(6, 3))
    assert torch.equal(z, embeddings[indices])
    found = VectorQuantizer(3, 5, 4)(x.float().flatten(1))
    assert (found.codes.shape, found.z.shape) == ((6, 3), (6, 12))


def test_gaussian_latents_are_drawn_with_noise_and_are_their_means_without():
    x, noise = torch.randn(4, 6), torch.randn(4, 3)
    latent = DiagonalGaussian(3)
    drawn = latent(x, noise)
    torch.testing.assert_close(drawn.z, x[:, :3] + softplus(x[:, 3:]) * noise)
    torch.testing.assert_close(latent(x).z, x[:, :3])
    assert torch.equal(drawn.codes, x[:, :3])


@DTYPES
def test_logarithms_of_deviations_that_underflow_are_finite(dtype):
    p = torch.tensor([-1000.0, -40.0, -37.1, -36.9, -1.0, 0.0, 50.0], dtype=dtype, requires_grad=True)
    found = log_softplus(p)
    torch.testing.assert_close(found[4:], softplus(p[4:]).log())
    torch.testing.assert_close(found[:4].detach(), p[:4].detach(), rtol=0, atol=1e-5)
    found.sum().backward()
    torch.testing.assert_close(p.grad[:4], torch.ones(4, dtype=dtype))
    assert p.grad.isfinite().all()
