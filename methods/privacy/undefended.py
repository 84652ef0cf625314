"""A classifier that answers with its logits: the baseline of the privacy track."""

from typing import ClassVar

from regbench.methods.method import Paper
from regbench.methods.privacy.task import PrivacyMethod


class Undefended(PrivacyMethod):
    """Minimizes cross-entropy and releases logits; no protection at all.

    Every method of the track is compared with it, attacked alike.
    """

    paper: ClassVar[Paper | None] = None
