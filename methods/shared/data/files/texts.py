"""Texts as tokens: what a tokenizer that lies beside a language model makes of a column."""

import numpy as np
import torch
from torch import Tensor

from regbench.methods.errors import DataError
from regbench.methods.shared.data.files.rows import Rows
from regbench.methods.shared.data.files.spec import FileData
from regbench.methods.shared.extras import library


def token_inputs(rows: Rows, spec: FileData) -> tuple[Tensor, int]:
    """The tokens of a column of texts, and the size of the vocabulary.

    Args:
        rows: that hold the column.
        spec: names the column, the tokenizer's folder and the most tokens of a text; longer ones are cut.

    Returns:
        Numbers of tokens and their mask, 1 where there is one, int64 ``[N, 2, L]``.

    Raises:
        DataError: a text is missing, or the folder holds no tokenizer that pads.
        SurroundingsError: the package ``transformers`` cannot be imported.
    """
    assert spec.text is not None
    transformers = library("transformers", "text", f"text '{spec.text}' of {rows.label}")
    texts = [str(text) for text in rows.complete(spec.text, "text").to_pylist()]
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(spec.tokenizer, local_files_only=True)
        found = tokenizer(texts, truncation=True, padding=True, max_length=spec.length, return_tensors="np")
    except Exception as error:
        raise DataError(f"tokenizer {spec.tokenizer}: {str(error).splitlines()[0]}") from None
    pairs = np.stack([found["input_ids"], found["attention_mask"]], axis=1)
    return torch.from_numpy(pairs.astype(np.int64)), len(tokenizer)
