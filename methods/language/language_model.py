"""A language model of any of the architectures: the baseline of the language track."""

from typing import ClassVar

from regbench.methods.language.task import LanguageMethod
from regbench.methods.method import Paper


class LanguageModeling(LanguageMethod):
    """Minimizes the cross-entropy of the next token and nothing else.

    By default GPT-2 with LayerNorm and GELU. ``layer_norm: false`` with ``feed: fused`` leaves softmax as the only
    nonlinearity; ``feed: linear`` with ``feed_norm`` weight, spectral or scaled are the alternatives to LayerNorm that are
    cheap in private.
    """

    paper: ClassVar[Paper | None] = None
