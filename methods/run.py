"""All that a method sees of the outside: data, device, randomness, other workers, and what survives an interruption."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset, TensorDataset

from regbench.methods.errors import CheckpointError, ConfigError
from regbench.methods.shared.data import Data, load
from regbench.methods.shared.loading import default_workers, read
from regbench.methods.shared.precision import MixedPrecision

CHECKPOINT_FORMAT = 1

Evaluate = Callable[[TensorDataset], dict[str, float]]
"""What gives the metrics of a split, by names without the split's prefix."""


class World(Protocol):
    """The processes that train one model together, seen from one of them (``rank`` of ``size``)."""

    rank: int
    size: int

    def prepare(self, model: nn.Module) -> nn.Module:
        """Wraps a model so that its gradients are averaged over all workers."""

    def gather(self, tensor: Tensor) -> Tensor:
        """Concatenates equally shaped tensors of all workers along the first axis, in the order of ranks."""


class Alone:
    """A world of one process."""

    rank = 0
    size = 1

    def prepare(self, model: nn.Module) -> nn.Module:
        """Returns the model as it is."""
        return model

    def gather(self, tensor: Tensor) -> Tensor:
        """Returns the tensor as it is."""
        return tensor


class ProcessGroup:
    """A world of the processes of torch.distributed's default group, each with the device that its models are on."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()

    def prepare(self, model: nn.Module) -> nn.Module:
        """Wraps a model in DistributedDataParallel."""
        return DistributedDataParallel(model)

    def gather(self, tensor: Tensor) -> Tensor:
        """Concatenates equally shaped tensors of all workers, in the order of ranks."""
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)


class Best:
    """The best value of a metric so far.

    Args:
        metric: its name, as ``val/<metric>``.
        mode: whether more (``max``) or less (``min``) is better.
        value: the best one that is known already.

    Attributes:
        improved: whether the last one seen was better than all before.
    """

    def __init__(self, metric: str, mode: str, value: float | None = None) -> None:
        self._metric = metric
        self._sign = 1 if mode == "max" else -1
        self._value = value
        self.improved = False

    def see(self, metrics: Mapping[str, float]) -> None:
        """Takes in a round's metrics."""
        value = metrics[self._metric]
        self.improved = self._value is None or self._sign * value > self._sign * self._value
        if self.improved:
            self._value = value


class Run:
    """One training as a method sees it.

    Creating a run seeds torch's global generator, so that initial parameters and dropout follow ``seed`` too.

    Args:
        data: a data set, or the name of a registered one.
        split: the number of the split that a registered one is loaded in; not looked at where ``data`` is a data set itself.
        seed: seeds every random stream of the run; non-negative.
        device: where models and batches live.
        test: whether the last round also computes ``test/…`` metrics (confirmation stage only).
        watch: with ``test``, a validation metric as ``val/<metric>``: each round in which it is better than ever before
            computes test metrics, in place of the last one.
        checkpoint: what ``state()`` of an interrupted run returned; the run continues after it.
        world: the processes that train together; by default just this one.
        readers: processes that read the rows of data that are not tensors; by default as ``loading.default_workers`` says.
            What is read does not depend on it.
    """

    def __init__(
        self,
        data: Data | str,
        *,
        split: int = 0,
        seed: int = 0,
        device: torch.device | str = "cpu",
        test: bool = False,
        watch: Best | None = None,
        checkpoint: Mapping[str, Any] | None = None,
        world: World | None = None,
        readers: int | None = None,
    ) -> None:
        self.data = load(data, split) if isinstance(data, str) else data
        self.seed = seed
        self.device = torch.device(device)
        self.test = test
        self._watch = watch
        self.world: World = world or Alone()
        self._readers = default_workers() if readers is None else readers
        self._checkpoint = checkpoint
        self._named: dict[str, Any] = {}
        self._generators: dict[str, torch.Generator] = {}
        self._shared: dict[str, bool] = {}
        self._on_device: dict[int, tuple[Tensor, ...]] = {}
        self.round = 0
        self.total = 0
        # Every worker must build the same parameters; dropout and the like are made to differ in `restore`.
        torch.manual_seed(_stream_seed(seed, "global"))

    @property
    def named(self) -> Mapping[str, Any]:
        """What makes up the run's state, by the names under which it was handed to ``restore``."""
        return self._named

    @property
    def network(self) -> Any:
        """The first module that was handed to ``restore``: the network that is trained, for most methods.

        Raises:
            StopIteration: there is none.
        """
        return next(part for part in self._named.values() if isinstance(part, nn.Module))

    @property
    def parts(self) -> list[Any]:
        """What makes up the run's state, as handed to ``restore``."""
        return list(self._named.values())

    def part(self, name: str) -> Any:
        """What was handed to ``restore`` under that name; None where nothing was."""
        return self._named.get(name)

    @property
    def last(self) -> bool:
        """Whether the round in progress is the last one planned."""
        return self.round == self.total

    def rounds(self, total: int) -> Iterator[int]:
        """Counts rounds 1 to ``total``; a resumed run starts after the last one that its checkpoint holds."""
        self.total = total
        for number in range(self.round + 1, total + 1):
            self.round = number
            yield number

    def judge(self, evaluate: Evaluate) -> dict[str, float]:
        """Validation metrics, and where they are due also test metrics, with their prefixes."""
        return self.judge_validation(evaluate) | self.judge_test(evaluate)

    def judge_validation(self, evaluate: Evaluate) -> dict[str, float]:
        """The validation split's metrics as ``val/…``."""
        metrics = prefixed("val", evaluate(self.data.validation))
        if self._watch:
            self._watch.see(metrics)
        return metrics

    def judge_test(self, evaluate: Evaluate) -> dict[str, float]:
        """The test split's metrics as ``test/…`` in the last round of a run with ``test``; otherwise none.

        Of a run that watches a validation metric, in the rounds in which that has just become better.
        """
        due = self.test and (self._watch.improved if self._watch else self.last)
        return prefixed("test", evaluate(self.data.test)) if due else {}

    def generator(self, name: str, device: torch.device | str = "cpu", *, shared: bool = False) -> torch.Generator:
        """An independent random stream, named after its use, so that one use never shifts the numbers of another.

        Args:
            name: what the numbers are for.
            device: where they are drawn.
            shared: whether all workers draw the same numbers (an order of batches) or each its own (noise on its samples).
        """
        if name not in self._generators:
            self._generators[name] = torch.Generator(device=device)
            self._shared[name] = shared
            self._seed_generator(name)
        return self._generators[name]

    def _seed_generator(self, name: str) -> None:
        generator, rank = self._generators[name], self.world.rank
        saved = self._checkpoint["generators"] if self._checkpoint is not None and self.round else {}
        if rank and not self._shared[name]:
            # A checkpoint is written by rank 0 alone: after a resume the others draw fresh numbers of their own.
            generator.manual_seed(_stream_seed(self.seed, f"{name} rank {rank} round {self.round}"))
        elif name in saved:
            generator.set_state(saved[name])
        else:
            generator.manual_seed(_stream_seed(self.seed, name))

    def numpy_seed(self, name: str) -> int:
        """A seed for a NumPy, SciPy or scikit-learn routine, derived from the run's seed and a name; 32 bits."""
        return _stream_seed(self.seed, name) % 2**32

    def prepare(self, model: nn.Module, *, mixed_precision: bool = False) -> nn.Module:
        """Moves a model to the device, and wraps it for mixed precision and, with several workers, for distributed training."""
        model = model.to(self.device)
        return self.world.prepare(MixedPrecision(model) if mixed_precision else model)

    def gather(self, tensor: Tensor) -> Tensor:
        """Concatenates equally shaped tensors of all workers along the first axis; alone, returns the tensor."""
        return self.world.gather(tensor)

    def average_buffers(self, network: nn.Module) -> None:
        """Makes the running statistics of batch normalization, which each worker has from its own rows, their means."""
        if self.world.size > 1:
            for buffer in network.buffers():
                buffer.copy_(self.gather(buffer[None].float()).mean(0))

    def tensors(self, split: TensorDataset) -> tuple[Tensor, ...]:
        """The tensors of a split on the run's device, copied there once.

        Raises:
            ConfigError: the split is no tensors, but is read while it is used.
        """
        if not isinstance(split, TensorDataset):
            raise ConfigError(
                f"data set '{self.data.name}' is read in batches, and all of it is needed at once here: keep it in memory "
                "(of images in files, `in_memory: true`)"
            )
        if id(split) not in self._on_device:
            self._on_device[id(split)] = tuple(tensor.to(self.device) for tensor in split.tensors)
        return self._on_device[id(split)]

    def batches(self, split: Dataset[Any], sizes: int | list[int]) -> Iterator[tuple[Tensor, ...]]:
        """Goes once through a split in order, for evaluation: all of it on each worker, what is random in it always alike.

        Args:
            split: one that is tensors, or any other.
            sizes: of each batch, or of one after the other.

        Yields:
            The split's tensors for the batch, on the device; of a split that is not tensors, what ``loading.read`` makes of it.
        """
        if isinstance(split, TensorDataset):
            return zip(*(tensor.split(sizes) for tensor in self.tensors(split)), strict=True)
        return self._read(split, torch.arange(_size(split)).split(sizes), self.numpy_seed("evaluation"))

    def rows(self, split: Dataset[Any], index: Tensor) -> tuple[Tensor, ...]:
        """Rows of a split on the device, for evaluation, by their indices, int64: the same ones on each worker."""
        if isinstance(split, TensorDataset):
            return tuple(tensor[index] for tensor in self.tensors(split))
        return next(self._read(split, [index], self.numpy_seed("evaluation")))

    def _read(self, split: Dataset[Any], parts: Iterable[Tensor], seed: int) -> Iterator[tuple[Tensor, ...]]:
        return read(split, [rows.tolist() for rows in parts], seed, self.device, self._readers)

    def split_name(self, split: TensorDataset) -> str:
        """``validation`` or ``test``: which of the data's splits that is."""
        return next(name for name in ("validation", "test") if getattr(self.data, name) is split)

    def loader(
        self, split: Dataset[Any], batch_size: int, *, shuffle: bool = True, drop_last: bool = False
    ) -> Iterator[tuple[Tensor, ...]]:
        """Goes once through a split in mini-batches.

        ``batch_size`` is the size over all workers: each takes an equal share of every batch, so that the number of workers
        does not change the optimization. A last batch that cannot be shared equally loses at most ``world.size - 1`` rows.

        Yields:
            The split's tensors for the batch, on the device, or what ``loading.read`` makes of a split that is not tensors;
            then the rows' indices in the split, an int64 tensor ``[B]``.

        Raises:
            ConfigError: there are more workers than rows in a batch.
        """
        self._require_rows(batch_size)
        count = _size(split)
        order = torch.randperm(count, generator=self.generator("shuffle", shared=True)) if shuffle else torch.arange(count)
        order = order.to(self.device)
        starts = range(0, count - batch_size + 1 if drop_last else count, batch_size)
        shares = [share for start in starts if len(share := self._share(order[start : start + batch_size]))]
        if isinstance(split, TensorDataset):
            tensors = self.tensors(split)
            for share in shares:
                yield *(tensor[share] for tensor in tensors), share
            return
        seed = int(torch.randint(2**62, (), generator=self.generator("reading")))
        for share, found in zip(shares, self._read(split, shares, seed), strict=True):
            yield *found, share

    def draw(self, count: int, batch_size: int, weights: Tensor | None = None) -> Tensor:
        """This worker's share of a mini-batch drawn with replacement: indices below ``count`` on the device, int64.

        Args:
            count: rows to draw from.
            batch_size: rows to draw, over all workers.
            weights: of the rows ``[count]``, proportional to how probably each is drawn; None: all alike.

        Raises:
            ConfigError: there are more workers than rows in a batch.
        """
        self._require_rows(batch_size)
        generator = self.generator("batches", shared=True)
        if weights is None:
            index = torch.randint(count, (batch_size,), generator=generator)
        else:
            index = torch.multinomial(weights.cpu(), batch_size, replacement=True, generator=generator)
        return self._share(index).to(self.device)

    def _share(self, batch: Tensor) -> Tensor:
        """As many of a batch's indices for each worker, this one's."""
        rank, size = self.world.rank, self.world.size
        return batch[: len(batch) - len(batch) % size][rank::size]

    def _require_rows(self, batch_size: int) -> None:
        if batch_size < self.world.size:
            raise ConfigError(
                f"batch_size {batch_size} leaves some of {self.world.size} workers without rows: set it to at least that"
            )

    def restore(self, **named: Any) -> None:
        """Declares what makes up the run's state, and fills it from the checkpoint of an interrupted run, if there is one.

        Args:
            **named: objects with ``state_dict`` and ``load_state_dict`` (modules, optimizers), or plain dictionaries of
                tensors, numbers, strings and lists of them, which are changed in place. None is skipped.

        Raises:
            CheckpointError: the checkpoint has another format or other parts.
        """
        self._named = {name: part for name, part in named.items() if part is not None}
        if self._checkpoint is None:
            if self.world.rank:
                torch.manual_seed(_stream_seed(self.seed, f"rank {self.world.rank}"))
            return
        saved = self._checkpoint
        if saved.get("format") != CHECKPOINT_FORMAT or set(saved["state"]) != set(self._named):
            raise CheckpointError(
                f"the checkpoint holds {sorted(saved.get('state', {}))}, this method needs {sorted(self._named)}: "
                "it was written by another method or version; delete it to start again"
            )
        for name, part in self._named.items():
            if isinstance(part, dict):
                part.clear()
                part.update(saved["state"][name])
            else:
                part.load_state_dict(saved["state"][name])
        self.round = saved["round"]
        for name in self._generators:
            self._seed_generator(name)
        if self.world.rank:
            torch.manual_seed(_stream_seed(self.seed, f"rank {self.world.rank} round {self.round}"))
            return
        torch.set_rng_state(saved["rng"])
        if self.device.type == "cuda" and "cuda_rng" in saved:
            torch.cuda.set_rng_state(saved["cuda_rng"], self.device)

    def state(self) -> dict[str, Any]:
        """The run's state after the round just finished: tensors, numbers, strings, containers of them; no pickled objects."""
        state = {
            "format": CHECKPOINT_FORMAT,
            "round": self.round,
            "state": {name: dict(part) if isinstance(part, dict) else part.state_dict() for name, part in self._named.items()},
            "generators": {name: generator.get_state() for name, generator in self._generators.items()},
            "rng": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        return state


def prefixed(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics with a prefix before their names: ``val/accuracy``."""
    return {f"{prefix}/{name}": value for name, value in metrics.items()}


def _size(split: Dataset[Any]) -> int:
    """The rows of a map-style dataset, which torch's type does not promise to have a length."""
    return len(split)  # type: ignore[arg-type]


def _stream_seed(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int(np.frombuffer(digest[:8], dtype="<u8")[0] >> np.uint64(1))
