import itertools

import pytest
import torch

from regbench.methods.shared.reinforcement.estimators import majority_at_k, pass_at_k


@pytest.mark.parametrize(
    ("samples", "correct", "k", "expected"),
    [(10, 3, 1, 0.3), (10, 3, 5, 0.916667), (32, 1, 8, 0.25), (16, 4, 4, 0.728022), (8, 8, 3, 1), (8, 0, 3, 0), (8, 6, 3, 1)],
)
def test_pass_at_k(samples, correct, k, expected):
    assert pass_at_k(torch.tensor([correct]), samples, k).item() == pytest.approx(expected, abs=1e-6)


def test_pass_at_k_is_the_mean_over_subsets():
    right = torch.tensor([1, 0, 0, 1, 0, 0, 0])
    for k in range(1, 8):
        subsets = [any(right[list(subset)]) for subset in itertools.combinations(range(7), k)]
        assert pass_at_k(right.sum(), 7, k).item() == pytest.approx(sum(subsets) / len(subsets), abs=1e-12)


@pytest.mark.parametrize(("k", "expected"), [(1, 0.5), (3, 0.6), (5, 0.75)])
def test_majority_over_all_subsets(k, expected):
    answers = torch.tensor([[3, 3, 1, 1, 2, 3]])
    found = majority_at_k(answers, torch.tensor([3]), k, torch.Generator())
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_who_does_not_answer_does_not_vote():
    answers, stream = torch.tensor([[-1, -1, 4], [-1, -1, -1]]), torch.Generator()
    assert majority_at_k(answers, torch.tensor([4, 4]), 3, stream).tolist() == [1, 0]


def test_random_subsets_are_close_to_all():
    answers = torch.tensor([[0] * 9 + [1] * 7 + [2] * 4])
    stream = torch.Generator().manual_seed(0)
    found = majority_at_k(answers.expand(50, -1), torch.zeros(50, dtype=torch.int64), 8, stream)
    many = majority_at_k(answers.expand(2000, -1), torch.zeros(2000, dtype=torch.int64), 8, stream).mean()
    assert found.mean().item() == pytest.approx(many.item(), abs=0.02)
