"""Causal language models of a local folder as policies, and the tokenizer that lies beside them."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regbench.methods.errors import ConfigError
from regbench.methods.shared.data import data_root
from regbench.methods.shared.extras import library

PREFIX = "hf:"


@dataclass
class CausalCache:
    """What a model remembers of the tokens seen so far, and which of these are no padding ``[B, L]``."""

    past: Any
    seen: Tensor


class CausalPolicy(nn.Module):
    """A causal language model of ``transformers``, with what a policy is asked for; see ``GPT``.

    Sequences may begin with padding, which no token attends to; their positions are counted from the first other token.

    Args:
        model: gives ``logits`` for ``input_ids``, and takes a cache.
        pad: the token that fills sequences up.
        words: the model's token for each of an environment's own ``[V]``, which logits are then limited to; None: the
            environment speaks the model's tokens.
    """

    words: Tensor | None

    def __init__(self, model: nn.Module, pad: int, words: Tensor | None = None) -> None:
        super().__init__()
        self.model, self.pad = model, pad
        # Newer versions of transformers have renamed it.
        self.memory = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
        self.register_buffer("words", words, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[B, L, V]`` of the token after each of ``tokens [B, L]``."""
        return self._logits(self._run(tokens, self._seen(tokens), None))

    def state(self, tokens: Tensor) -> Tensor:
        """What the token after ``tokens [B, L]`` is read from, ``[B, width]``."""
        found: Tensor = self._run(tokens, self._seen(tokens), None, output_hidden_states=True).hidden_states[-1]
        return found[:, -1]

    def start(self, batch: int, length: int) -> CausalCache:
        """An empty cache for so many sequences."""
        transformers = library("transformers", "text", "a causal language model")
        device = next(self.model.parameters()).device
        return CausalCache(transformers.DynamicCache(), torch.zeros(batch, 0, dtype=torch.bool, device=device))

    def extend(self, tokens: Tensor, cache: CausalCache) -> Tensor:
        """Logits ``[B, V]`` after the tokens in the cache and ``tokens [B, S]``, which are added to it."""
        more = torch.ones_like(tokens, dtype=torch.bool) if cache.seen.shape[1] else self._seen(tokens)
        cache.seen = torch.cat([cache.seen, more], 1)
        return self._logits(self._run(tokens, cache.seen, cache.past))[:, -1]

    def _seen(self, tokens: Tensor) -> Tensor:
        """Which tokens come after the padding at the beginning ``[B, L]``; with words there is none."""
        if self.words is not None:
            return torch.ones_like(tokens, dtype=torch.bool)
        return (tokens != self.pad).cumsum(1) > 0

    def _run(self, tokens: Tensor, seen: Tensor, past: Any, **wanted: bool) -> Any:
        places = (seen.cumsum(1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
        given = tokens if self.words is None else self.words[tokens]
        return self.model(
            input_ids=given,
            attention_mask=seen.long(),
            position_ids=places,
            use_cache=past is not None,
            **{self.memory: past},
            **wanted,
        )

    def _logits(self, found: Any) -> Tensor:
        logits: Tensor = found.logits
        return logits.float() if self.words is None else logits[..., self.words].float()


def folder_of(policy: str) -> Path:
    """The folder that ``hf:FOLDER`` names: as it is, or below ``REGBENCH_DATA``.

    Raises:
        ConfigError: there is none.
    """
    name = Path(policy.removeprefix(PREFIX)).expanduser()
    root = data_root()
    for path in (name, *([root / name] if root else [])):
        if path.is_dir():
            return path
    raise ConfigError(f"policy {policy}: there is no such folder, neither here nor below REGBENCH_DATA")


def load_causal(policy: str) -> nn.Module:
    """The model of ``hf:FOLDER`` as ``save_pretrained`` writes it, without dropout.

    Raises:
        ConfigError: the folder is not there or holds no causal language model.
        SurroundingsError: the package ``transformers`` cannot be imported.
    """
    folder = folder_of(policy)
    found = _transformers(policy).AutoModelForCausalLM
    try:
        model: nn.Module = found.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise ConfigError(f"policy {policy}: no causal language model: {str(error).splitlines()[0]}") from None
    return model.eval()


@lru_cache
def load_tokenizer(policy: str) -> Any:
    """The tokenizer beside the model of ``hf:FOLDER``, with a token of padding.

    Raises:
        ConfigError: the folder holds no tokenizer, or one that knows no end of a text.
        SurroundingsError: the package ``transformers`` cannot be imported.
    """
    folder = folder_of(policy)
    # Without these files transformers would look for a tokenizer elsewhere, by the model's name.
    if not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ConfigError(f"policy {policy}: no tokenizer in the folder, such as tokenizer.json; save it beside the model")
    try:
        tokenizer = _transformers(policy).AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"policy {policy}: no tokenizer: {str(error).splitlines()[0]}") from None
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"policy {policy}: its tokenizer has no token for the end of a text (eos_token)")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def tokens_of(policy: str, names: Sequence[str]) -> Tensor:
    """A token of the folder's tokenizer for each word of an environment ``[V]``: its first one that no other word has.

    Words that a tokenizer splits are then known by a part of them. For an empty word it is the end of a text.

    Raises:
        ConfigError: for a word there is none left.
    """
    tokenizer = load_tokenizer(policy)
    taken: dict[int, str] = {}
    found = []
    for name in names:
        parts = tokenizer(f" {name}", add_special_tokens=False)["input_ids"] if name else []
        token = next((part for part in parts if part not in taken), None) if name else tokenizer.eos_token_id
        if token is None:
            raise ConfigError(
                f"policy {policy}: its tokenizer has no token of its own for '{name}' beside {list(taken.values())}"
            )
        if name:
            taken[token] = name
        found.append(token)
    return torch.tensor(found)


def _transformers(policy: str) -> Any:
    transformers = library("transformers", "text", f"policy {policy}")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers
