"""Names as MLflow takes them, for metrics and parameters alike."""

import hashlib
import posixpath
import re

# MLflow's own limit.
LONGEST = 250


def mlflow_name(text: str) -> str:
    """A name that MLflow takes: the text itself where it may stand, else one that is made of it and of no other text."""
    allowed = re.sub(r"[^\w\-./: ]", "_", text)
    # MLflow makes paths of names: each must have one way to be written, and lead down.
    path = "/".join(part for part in posixpath.normpath(allowed).split("/") if part.strip("."))
    if path == text and 0 < len(text) <= LONGEST:
        return text
    mark = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:6]
    return f"{path[: LONGEST - len(mark) - 1]}-{mark}"
