"""Fairness by distance covariance: the prediction shall not depend on several protected attributes, jointly."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.fairness import targets
from regbench.methods.fairness.distance_covariance import FEWEST, Dependence, estimate
from regbench.methods.fairness.metrics import jensen_shannon
from regbench.methods.fairness.task import Batch, FairnessMethod, Scores
from regbench.methods.method import Metrics, Paper, hyperparameter, is_off, weight
from regbench.methods.run import Run

# The share of the training rows on which candidates for the weight are trained; JSD is measured on the others.
SUB_TRAIN = 0.7


class DistanceCovarianceFairness(FairnessMethod):
    """The task's loss plus λ times an unbiased estimate ψ of how the prediction depends on the protected attributes.

    L = loss(ŷ, y) + λ ψ(ŷ, s), both on the mini-batch and on the scale of the response (a probability, a mean count with its
    exposure). Attributes may be binary (one column), categorical (one-hot) or continuous (scaled to [0, 1]), several together.
    With U the U-centered distances and ν²(v, w) = Σ_ij U^v_ij U^w_ij / (n (n - 3)), ψ is

    - ``ccdcov``: ν²(ŷ, [s_1; …; s_d]), 0 in the population exactly where ŷ is independent of all attributes together;
    - ``jdcov``: Σ_ij Π_v (U^v_ij + c) / (n (n - 3)) - n c^(d+1) / (n - 3), v over ŷ, s_1 … s_d: all pairs and all larger sets;
    - ``sum``: Σ_k ν²(ŷ, s_k), the competitor, which does not see dependence on a combination of attributes (gerrymandering).

    Estimates may be negative and are not clamped. A last batch of fewer than four rows has no estimate and no penalty.

    With ``jsd_level`` the weight is calibrated as the authors choose it, so that penalties can be compared at one level of
    unfairness: for each of ``calibration_points`` weights from 0 to ``fairness_weight``, equally spaced, ``calibration_seeds``
    networks are trained on 70 % of the training rows, and the smallest weight whose mean Jensen-Shannon divergence on the
    other rows is at most the level trains the final network on all rows. That rule is a reconstruction: how the authors read
    the weight off the curve was not seen. Where no weight attains the level, the nearest is taken, and ``calibration/reached``
    is 0.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Machine Learning with Multitype Protected Attributes: Intersectional Fairness through Regularisation",
        "Lee, Antonio, Avanzi, Marchi, Zhou",
        2025,
        "arXiv",
        "2509.08163",
    )

    fairness_weight: float = weight(
        40.0, off=0.0, ge=0, symbol="λ", differentiable=True, help="weight of the dependence; the largest, where calibrated"
    )
    penalty: Dependence = hyperparameter("ccdcov", help="dependence: ccdcov or jdcov, jointly; sum, on each attribute alone")
    jdcov_c: float = hyperparameter(
        1.0, gt=0, may_change=True, help="c of jdcov: the larger, the less terms of three and more variables count"
    )
    jsd_level: float | None = hyperparameter(
        None, gt=0, help="calibrate the weight to this Jensen-Shannon divergence in bits; None takes fairness_weight as it is"
    )
    calibration_points: int = hyperparameter(16, ge=2, help="weights that calibration tries, from 0 to fairness_weight")
    calibration_seeds: int = hyperparameter(10, ge=1, help="networks that calibration trains for each weight")

    @property
    def candidates(self) -> int:
        """How many networks calibration trains; 0 without it."""
        calibrated = self.jsd_level is not None and self.fairness_weight > 0
        return self.calibration_points * self.calibration_seeds if calibrated else 0

    @property
    def rounds(self) -> int:
        """One metrics mapping per epoch of each network."""
        return self.epochs * (self.candidates + 1)

    @property
    def changeable(self) -> frozenset[str]:
        """With calibration not its weight: what was calibrated so far would belong to other weights."""
        return super().changeable - ({"fairness_weight"} if self.candidates else set())

    def objective(self, model: Scores, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The loss plus λ times the dependence of the batch's predictions; see the class."""
        loss, score = super().objective(model, batch, weights)
        if is_off(weights.fairness_weight) or len(batch.y) < FEWEST:
            return loss, score
        prediction = targets.response(batch.target, score, batch.exposure)
        return loss + weights.fairness_weight * estimate(self.penalty, prediction, batch.s, batch.widths, self.jdcov_c), score

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains, after calibration where asked for; rounds of calibration report the network in training, too."""
        if not self.candidates:
            yield from super().train(run)
            return
        network = self.build_model(run.data).to(run.device)
        optimizer = self.build_optimizer(network)
        model = run.prepare(network)
        calibration: dict[str, Any] = {"jsd": []}
        run.restore(model=network, optimizer=optimizer, calibration=calibration)
        learned, held_out = _sub_train(run)
        grid = torch.linspace(0, self.fairness_weight, self.calibration_points).tolist()
        for number in run.rounds(self.rounds):
            stage, epoch = divmod(number - 1, self.epochs)
            if stage and not epoch:
                self._restart(network, optimizer, run)
            final = stage == self.candidates
            chosen = self.chosen(calibration["jsd"]) if final else stage // self.calibration_seeds
            candidate = self.replace(fairness_weight=grid[chosen])
            self.set_rates(optimizer, network, epoch + 1)
            metrics = candidate.train_epoch(model, optimizer, run.data.train if final else learned, epoch + 1, run)
            metrics |= {"train/fairness_weight": grid[chosen]} | self.judge(network, run)
            if final:
                assert self.jsd_level is not None
                metrics |= {"calibration/jsd": self.curve(calibration["jsd"])[chosen].item()}
                metrics |= {"calibration/reached": float(metrics["calibration/jsd"] <= self.jsd_level)}
            elif epoch == self.epochs - 1:
                calibration["jsd"] = [*calibration["jsd"], _divergence(network, held_out, run)]
            yield metrics

    def curve(self, found: list[float]) -> Tensor:
        """The mean Jensen-Shannon divergence of each weight of the grid ``[calibration_points]``, from that of each network."""
        return torch.tensor(found, dtype=torch.float64).view(-1, self.calibration_seeds).mean(1)

    def chosen(self, found: list[float]) -> int:
        """The place in the grid of the smallest weight that attains the level, or of the one that comes nearest."""
        assert self.jsd_level is not None
        curve = self.curve(found)
        reached = curve <= self.jsd_level
        return int(reached.double().argmax() if reached.any() else curve.argmin())

    def _restart(self, network: nn.Module, optimizer: torch.optim.Optimizer, run: Run) -> None:
        """Fresh parameters, the same for all workers, and an optimizer without a past."""
        seed = torch.randint(2**62, (), generator=run.generator("restart", shared=True)).item()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed))
            fresh = self.build_model(run.data)
        network.load_state_dict(fresh.state_dict())
        optimizer.state.clear()


def _sub_train(run: Run) -> tuple[TensorDataset, TensorDataset]:
    """The training rows in two parts, the same ones after a resume."""
    count = len(run.data.train)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(run.numpy_seed("calibration")))
    parts = order.split([round(SUB_TRAIN * count), count - round(SUB_TRAIN * count)])
    first, second = (TensorDataset(*(tensor[rows] for tensor in run.data.train.tensors)) for rows in parts)
    return first, second


def _divergence(network: nn.Module, split: TensorDataset, run: Run) -> float:
    """The Jensen-Shannon divergence between the groups' predictions, of a network in evaluation mode."""
    x, _, _, exposure, groups = run.tensors(split)
    with torch.no_grad():
        prediction = targets.response(run.data.meta["target"], network(x).double(), exposure.double())
    return jensen_shannon(prediction, groups)
