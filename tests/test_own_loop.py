"""Every block of `docs/in-your-own-loop.md` runs, and does what the page says of it."""

import copy
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from regbench.methods.classification.comp_sum import comp_sum_loss
from regbench.methods.classification.label_smoothing import smoothed_cross_entropy
from regbench.methods.classification.ps_kd import refined_cross_entropy
from regbench.methods.fairness.distance_covariance import correlation
from regbench.methods.regression.kernels import cs_information, cs_qmi, log_kernel, normalized_cs_qmi

PAGE = (Path(__file__).parents[1] / "docs" / "in-your-own-loop.md").read_text(encoding="utf-8")
BEGINNING, *SECTIONS = PAGE.split("\n## ")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
(SETUP,) = BLOCK.findall(BEGINNING)
# One pass over few rows, so that effects are seen.
FASTER = ("lr=1e-3", "lr=1e-2")
BLOCKS = {part.partition("\n")[0]: code for part in SECTIONS for code in BLOCK.findall(part)}


def run(section: str, *changes: tuple[str, str]) -> dict[str, Any]:
    """What a section's block leaves behind, after the page's first one; parts of it replaced."""
    code = BLOCKS[section]
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    names: dict[str, Any] = {}
    exec(SETUP, names)
    exec(code, names)
    return names


def accuracy(found: dict[str, Any], logits: torch.Tensor) -> float:
    return (logits.argmax(1) == found["y"]).double().mean().item()


def test_every_section_but_the_last_has_a_block():
    assert len(BLOCKS) == len(SECTIONS) - 1 == len(BLOCK.findall(PAGE)) - 1


def test_a_block_takes_about_ten_lines():
    lines = {
        name: len([line for line in code.splitlines() if line and not line.startswith("from")]) for name, code in BLOCKS.items()
    }
    assert max(lines.values()) <= 16


def test_it_brings_no_machinery():
    code = "\n".join(
        [SETUP, *BLOCKS.values(), "import sys", "print(*sorted({'ray', 'optuna', 'mlflow'} & sys.modules.keys()))"]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("loss", [None, "comp_sum_loss(logits, labels, tau=1.5)"])
def test_losses_of_logits_train(loss):
    changes = [("smoothed_cross_entropy(logits, labels, smoothing=0.1)", loss)] if loss else []
    found = run("A loss of the logits", *changes)
    assert accuracy(found, found["model"](found["x"])) > 0.8


def test_losses_of_logits_are_what_pytorch_has_where_it_has_them():
    torch.manual_seed(0)
    logits, labels = torch.randn(9, 5), torch.randint(5, (9,))
    smoothed = nn.functional.cross_entropy(logits, labels, label_smoothing=0.3)
    torch.testing.assert_close(smoothed_cross_entropy(logits, labels, 0.3), smoothed)
    torch.testing.assert_close(comp_sum_loss(logits, labels), nn.functional.cross_entropy(logits, labels))
    past = torch.rand(9, 5).softmax(1)
    targets = 0.4 * past + 0.6 * nn.functional.one_hot(labels, 5)
    torch.testing.assert_close(refined_cross_entropy(logits, labels, past, 0.4), nn.functional.cross_entropy(logits, targets))
    x, t = torch.randn(30, 4, dtype=torch.float64), torch.randn(30, 2, dtype=torch.float64)
    kernels = log_kernel(x, x, 0.7), log_kernel(t, t, 1.3)
    torch.testing.assert_close(cs_information(x, t, 0.7, 1.3), normalized_cs_qmi(*kernels))
    torch.testing.assert_close(cs_information(x, t, 0.7, 1.3, normalized=False), cs_qmi(*kernels))


def test_the_memory_holds_the_predictions_of_the_last_epoch():
    found = run("A loss with a memory")
    past = found["past"].probabilities
    torch.testing.assert_close(past.sum(1), torch.ones(512))
    assert ((past > 0) & (past < 1)).all(), "no row is left with its label"
    assert accuracy(found, past) > 0.9
    now = found["model"](found["x"]).softmax(1)
    assert (past - now).abs().mean() < 0.1


def test_the_module_for_lightning_takes_the_steps_of_the_loop():
    loop = run("A loss with a memory")
    found = run("The same for Lightning")
    torch.manual_seed(0)
    exec(SETUP, found)
    module = found["SelfDistilled"](found["network"](2), found["y"], classes=2)
    optimizer = module.configure_optimizers()
    for module.epoch in range(1, 6):
        for number, batch in enumerate(found["loader"]):
            loss = module.training_step(batch, number)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for one, other in zip(module.model.parameters(), loop["model"].parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert "past.probabilities" in module.state_dict()


def test_the_class_for_transformers_computes_the_loss_of_a_trainers_batch():
    found = run("The same for the Trainer of Transformers")
    network = found["network"](2)

    class Trainer:
        # As Transformers has it for models that take any keyword.
        def __init__(self, tag: str) -> None:
            self.tag, self.model_accepts_loss_kwargs = tag, True

        def compute_loss(self, *_: Any, **__: Any) -> None:
            raise AssertionError("the mixin comes first")

        def step(self, inputs: dict[str, torch.Tensor]) -> Any:
            return self.compute_loss(
                lambda embeddings: SimpleNamespace(logits=network(embeddings)), inputs, return_outputs=True
            )

    mine = type("MyTrainer", (found["CompSum"], Trainer), {})(tag="mine")
    assert mine.tag == "mine"
    assert not mine.model_accepts_loss_kwargs
    loss, outputs = mine.step({"embeddings": found["x"], "labels": found["y"]})
    assert outputs.logits.shape == (512, 2)
    torch.testing.assert_close(loss, comp_sum_loss(network(found["x"]), found["y"], 1.5))


def test_the_code_is_compressed_where_its_penalty_weighs():
    def information(weight: str) -> tuple[float, float]:
        found = run("A penalty on a hidden code", ("0.01 *", f"{weight} *"), FASTER)
        code = found["encoder"](found["x"])
        error = (found["decoder"](code)[:, 0] - found["value"]).square().mean()
        return cs_information(found["x"], code, 1.0, 1.0).item(), error.item()

    (free, _), (compressed, _), (_, error) = information("0.0"), information("10.0"), information("0.01")
    assert compressed < 0.9 * free
    assert error < 0.5


def test_the_prediction_depends_less_on_what_is_protected():
    def dependence(weight: str) -> float:
        found = run("A penalty on dependence", ("40 *", f"{weight} *"), ("lr=2e-3", "lr=2e-2"))
        return correlation(found["model"](found["x"]).squeeze(1).sigmoid().double(), found["s"].double()).item()

    assert dependence("40") < 0.2 * dependence("0")


def test_attention_is_spread_where_its_penalty_weighs():
    def entropy(weight: str) -> float:
        found = run("A penalty on attention", ("0.1 *", f"{weight} *"))
        bags = found["x"][:, :, None]
        attention = found["model"](bags, torch.ones_like(found["x"], dtype=torch.bool)).attention
        return -found["negative_entropy"](attention).mean().item()

    assert entropy("-1.0") < entropy("0.1") < entropy("10.0") <= torch.tensor(8.0).log().item() + 1e-6


def test_companded_weights_are_plain_again_and_bounded():
    code = BLOCKS["A change of the weights"]
    beginning = code.partition("optimizer =")[0].replace("compand(network(2)", "compand(copy.deepcopy(before)")
    names: dict[str, Any] = {"copy": copy}
    exec(SETUP, names)
    names["before"] = names["network"](2)
    exec(beginning, names)
    torch.testing.assert_close(names["model"](names["x"]), names["before"](names["x"]))
    assert sum(map(is_parametrized, names["model"].modules())) == 2
    found = run("A change of the weights")
    assert not any(map(is_parametrized, found["model"].modules()))
    assert all(layer.weight.abs().max() < torch.pi / 2 for layer in found["model"] if isinstance(layer, nn.Linear))
    assert accuracy(found, found["model"](found["x"])) > 0.6
