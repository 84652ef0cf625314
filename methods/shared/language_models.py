"""Language models of a local folder as classifiers of texts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from regbench.methods.errors import ConfigError
from regbench.methods.shared.extras import library


class TextClassifier(nn.Module):
    """A sequence classifier of ``transformers`` that takes tokens and their mask as one tensor.

    Args:
        model: gives ``logits`` for ``input_ids`` and ``attention_mask``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, K]`` of tokens and their mask, int64 ``[B, 2, L]``."""
        logits: Tensor = self.model(input_ids=x[:, 0], attention_mask=x[:, 1]).logits
        return logits


def text_classifier(folder: str) -> Callable[..., nn.Module]:
    """The factory of a classifier that starts from a language model, with a fresh last layer where that does not fit.

    Args:
        folder: of the model, as ``save_pretrained`` writes it.

    Raises:
        SurroundingsError: the package ``transformers`` cannot be imported.
    """
    transformers = library("transformers", "text", f"architecture hf:{folder}")

    def build(*, shape: tuple[int, ...], classes: int, **settings: Any) -> nn.Module:
        if len(shape) != 2 or shape[0] != 2:
            raise ConfigError(f"architecture hf:{folder} needs texts, not inputs of shape {shape}: see `text` of data in files")
        if not Path(folder).expanduser().is_dir():
            raise ConfigError(f"architecture hf:{folder}: there is no such folder")
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        load = transformers.AutoModelForSequenceClassification.from_pretrained
        return TextClassifier(load(folder, num_labels=classes, ignore_mismatched_sizes=True, local_files_only=True, **settings))

    return build
