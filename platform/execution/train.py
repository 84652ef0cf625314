"""Trains a trial with Ray Train: one or more workers, each a process with its own device, gradients averaged by DDP."""

import uuid
from dataclasses import replace
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray import tune
from ray.exceptions import RayActorError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch.config import TorchConfig, _TorchBackend
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError
from ray.tune.integration.ray_train import TuneReportCallback
from torch import nn

from regbench.methods.errors import SurroundingsError
from regbench.methods.memory import restore
from regbench.methods.run import ProcessGroup
from regbench.platform.execution.ray_cluster import location
from regbench.platform.execution.surroundings import failure, of_surroundings, root_of
from regbench.platform.execution.trial import Place, train
from regbench.platform.records.records import Report, Trial
from regbench.platform.suite.spec import Suite


class Setup(TorchConfig):
    """Ray Train's, but NCCL only where PyTorch can use a GPU in every worker: Ray takes it wherever GPUs are asked for."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """What carries it out."""
        return _Backend


class _Backend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Setup) -> None:
        usable = all(worker_group.execute(torch.cuda.is_available))
        super().on_start(worker_group, backend_config if usable else replace(backend_config, backend="gloo"))


class TrainWorld(ProcessGroup):
    """This worker among those of a Ray Train run."""

    def prepare(self, model: nn.Module) -> nn.Module:
        """DistributedDataParallel where there are several workers."""
        return super().prepare(model) if self.size > 1 else model

    def locations(self) -> list[dict[str, Any]]:
        """Where each worker runs, in the order of ranks."""
        found: list[dict[str, Any]] = [{}] * self.size
        dist.all_gather_object(found, location())
        return found


def worker(config: dict[str, Any]) -> None:
    """What each worker of a trial runs."""
    restore(config["objects"])
    world = TrainWorld()
    trial, place = Trial.from_json(config["trial"]), Place(**config["place"])

    def report(entry: Report) -> None:
        ray.train.report({"round": entry.round, "score": entry.metrics[trial.objectives[0]], "seconds": entry.seconds})

    device = str(ray.train.torch.get_device()) if dist.get_backend() == "nccl" else "cpu"
    train(trial, replace(place, device=device), report, world=world, located=world.locations())


def run_trial_with_train(config: dict[str, Any], suite: str, objects: bytes | None = None) -> None:
    """The trainable of ``execution: train``: a Tune trial that drives a Ray Train run.

    What the training itself gets wrong is reported as a failed trial; a worker that dies, or lacks something, raises, so that
    Tune tries again.
    """
    spec = Suite.model_validate_json(suite)
    trial = Trial.from_json(config["trial"])
    trainer = ray.train.torch.TorchTrainer(
        worker,
        train_loop_config={"trial": trial.to_json(), "place": config["place"], "objects": objects},
        torch_config=Setup(),
        scaling_config=ScalingConfig(
            num_workers=spec.workers,
            use_gpu=spec.resources.gpu > 0,
            resources_per_worker={"CPU": spec.resources.cpu} | ({"GPU": spec.resources.gpu} if spec.resources.gpu else {}),
        ),
        run_config=RunConfig(
            # A new name each time: our own checkpoint says where to go on, not Ray Train's.
            name=f"{trial.key}-{uuid.uuid4().hex[:8]}",
            storage_path=f"{config['place']['storage']}/train",
            failure_config=FailureConfig(max_failures=0),
            callbacks=[TuneReportCallback()],
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        causes = list(error.worker_failures.values()) if isinstance(error, WorkerGroupError) else [error]
        if any(isinstance(cause, RayActorError) for cause in causes):
            raise
        roots = [root_of(cause) for cause in causes]
        # Of workers that wait for one that failed, each fails by that: what the method itself raised is the reason.
        own = [root for root in roots if not of_surroundings(root)]
        if not own:
            raise SurroundingsError(failure(roots[0])) from None
        tune.report({"failure": failure(own[0])})
