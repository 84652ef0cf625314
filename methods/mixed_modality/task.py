"""The mixed-modality task: pre-training ("heating"), then fine-tuning on clean images. Methods change what is pre-trained."""

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from regbench.methods.classification.metrics import classification_metrics
from regbench.methods.hidden import Hidden, fixed_rows, penultimate
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.mixed_modality import masks, networks
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.training import Means, MixedPrecisionMethod, descend, set_rate

TRACK = Track(
    name="mixed_modality",
    help="one label for images of several modalities, judged as they are and under noise masks unseen in training",
    metrics=(Metric("accuracy", "max"), Metric("masked_accuracy", "max"), Metric("nll", "min")),
    data=("digit_modalities", "medmnist_radiology"),
    baseline="plain_two_stage",
    smoke={"heating_epochs": 3, "finetune_epochs": 2, "averaged_epochs": 2},
)

# Where a linear warm-up starts, relative to the full learning rate.
WARMUP_START = 0.01
# Images in one forward pass of the evaluation.
EVALUATION_BATCH = 512


class MixedModalityMethod(MixedPrecisionMethod):
    """Pre-trains a classifier, averages its last epochs, then fine-tunes it briefly with cross-entropy on clean images.

    A method of the track may override ``heat`` (what pre-training minimizes) and ``build_policy`` (a second network, trained
    beside the classifier in pre-training only). All methods get the same number of epochs in both stages together.
    """

    track: ClassVar[Track] = TRACK

    architecture: networks.Architecture = hyperparameter(
        "cnn", help="classifier: cnn (two convolutions), resnet10 or resnet18 (for small images)"
    )
    heating_epochs: int = hyperparameter(30, ge=1, help="passes over the training data in pre-training")
    finetune_epochs: int = hyperparameter(6, ge=0, help="passes in fine-tuning")
    averaged_epochs: int = hyperparameter(
        3, ge=1, help="last epochs of pre-training whose weights are averaged; 1: the last one's"
    )
    batch_size: int = hyperparameter(64, ge=2, help="mini-batch size over all workers")
    learning_rate: float = hyperparameter(0.02, gt=0, may_change=True, help="of SGD in pre-training; x0.1 after each third")
    finetune_lr: float = hyperparameter(2e-3, gt=0, may_change=True, help="of SGD in fine-tuning, constant after the warm-up")
    finetune_warmup: int = hyperparameter(4, ge=0, help="epochs of fine-tuning over which its learning rate grows linearly")
    weight_decay: float = hyperparameter(1e-4, ge=0, may_change=True, help="L2 penalty of SGD")

    @property
    def rounds(self) -> int:
        """One metrics mapping per epoch of either stage."""
        return self.heating_epochs + self.finetune_epochs

    def heat(
        self, model: nn.Module, policy: nn.Module | None, x: Tensor, y: Tensor, run: Run
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What pre-training minimizes on a mini-batch, and facts about it, whose means over an epoch are recorded.

        Args:
            model: the classifier, images ``[B, C, H, W]`` to logits ``[B, K]``.
            policy: the second network, or None.
            x: images ``[B, C, H, W]``.
            y: labels ``[B]``.
            run: the training.
        """
        return cross_entropy(model(x), y), {}

    def build_policy(self, data: Data) -> nn.Module | None:
        """The second network of pre-training; None for most methods."""
        return None

    def policy_rate(self, epoch: int) -> float:
        """The second network's learning rate in an epoch of pre-training."""
        return self.learning_rate

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains through both stages and yields validation metrics, on clean and on masked images, after each epoch."""
        network = networks.build_classifier(self.architecture, run.data.meta["shape"], run.data.meta["classes"]).to(run.device)
        policy = self.build_policy(run.data)
        # Each stage has an optimizer of its own: fine-tuning starts without momentum.
        heating, tuning = (self._sgd(network) for _ in range(2))
        acting = None if policy is None else self._sgd(policy.to(run.device))
        model = self.prepare(network, run)
        actor = None if policy is None else run.prepare(policy)
        sums: dict[str, Tensor] = {}
        run.restore(network=network, policy=policy, heating=heating, tuning=tuning, acting=acting, sums=sums)
        for epoch in run.rounds(self.rounds):
            network.train()
            if epoch <= self.heating_epochs:
                set_rate(heating, self.learning_rate * 0.1 ** (3 * (epoch - 1) // self.heating_epochs))
                if acting is not None:
                    set_rate(acting, self.policy_rate(epoch))
                metrics = self._heat_epoch(model, actor, [o for o in (heating, acting) if o is not None], run)
            else:
                set_rate(tuning, self.finetune_lr * self._warmup(epoch - self.heating_epochs))
                metrics = self._tune_epoch(model, tuning, run)
            run.average_buffers(network)
            self._average_epochs(network, sums, epoch)
            network.eval()
            yield metrics | run.judge(lambda split: self.evaluate(network, split, run))

    def hidden(self, run: Run, count: int) -> Hidden:
        """What the classifier's last layer is given."""
        x, y = run.tensors(run.data.validation)[:2]
        rows = fixed_rows(len(x), count, run.device)
        return Hidden(penultimate(run.network, x[rows]), x[rows], y[rows])

    def _heat_epoch(self, model: nn.Module, policy: nn.Module | None, optimizers: list[torch.optim.SGD], run: Run) -> Metrics:
        """One pass of pre-training; returns the means of the objective and of its facts over this worker's batches."""
        means = Means()
        for x, y, _ in run.loader(run.data.train, self.batch_size, drop_last=True):
            loss, facts = self.heat(model, policy, x, y, run)
            descend(loss, *optimizers)
            means.add(**facts, loss=loss)
        return means.metrics()

    def _tune_epoch(self, model: nn.Module, optimizer: torch.optim.SGD, run: Run) -> Metrics:
        means = Means()
        for x, y, _ in run.loader(run.data.train, self.batch_size, drop_last=True):
            loss = cross_entropy(model(x), y)
            descend(loss, optimizer)
            means.add(loss=loss)
        return means.metrics()

    def _average_epochs(self, network: nn.Module, sums: dict[str, Tensor], epoch: int) -> None:
        """Sums parameters and running statistics over the last epochs of pre-training, then sets the network to their mean."""
        count = min(self.averaged_epochs, self.heating_epochs)
        if not self.heating_epochs - count < epoch <= self.heating_epochs:
            return
        state = network.state_dict()
        for name, value in state.items():
            # Batch normalization counts its batches in integers, which stay as they are.
            if value.is_floating_point():
                sums[name] = sums[name].to(value.device) + value if name in sums else value.clone()
        if epoch == self.heating_epochs:
            network.load_state_dict(state | {name: total / count for name, total in sums.items()})
            sums.clear()

    def evaluate(self, network: nn.Module, split: TensorDataset, run: Run) -> Metrics:
        """Metrics of a network in evaluation mode on a split, names without the split's prefix.

        ``masked_accuracy`` is the accuracy on images times a mask of independent U(0, 1) cells of 2 x 2 pixels, not blurred;
        the same masks for every worker, epoch and resumed run.
        """
        x, y = run.tensors(split)[:2]
        stream = torch.Generator().manual_seed(run.numpy_seed("evaluation masks"))
        cells = min(x.shape[2:]) // 2
        grids = torch.rand(len(x), cells, cells, generator=stream).to(x.device)
        with torch.no_grad():
            clean = torch.cat([network(part) for part in x.split(EVALUATION_BATCH)])
            masked = torch.cat(
                [
                    network(part * masks.enlarge(grid, part.shape[2:]))
                    for part, grid in zip(x.split(EVALUATION_BATCH), grids.split(EVALUATION_BATCH), strict=True)
                ]
            )
        found = classification_metrics(clean, y)
        return {
            "accuracy": found["accuracy"],
            "masked_accuracy": (masked.argmax(1) == y).double().mean().item(),
            "nll": found["nll"],
        }

    def _warmup(self, epoch: int) -> float:
        """The factor on the learning rate in an epoch of fine-tuning, from 1."""
        if epoch > self.finetune_warmup:
            return 1.0
        return WARMUP_START + (1 - WARMUP_START) * (epoch - 1) / self.finetune_warmup

    def _sgd(self, network: nn.Module) -> torch.optim.SGD:
        return torch.optim.SGD(network.parameters(), lr=self.learning_rate, momentum=0.9, weight_decay=self.weight_decay)


def cosine(epoch: int, epochs: int) -> float:
    """Half a cosine from 1 in the first epoch towards 0 after the last one."""
    return 0.5 * (1 + math.cos(math.pi * (epoch - 1) / epochs))
