"""Libraries that some uses alone need: each comes with an extra of regbench, and is imported where it is used."""

import importlib
from types import ModuleType

from regbench.methods.errors import SurroundingsError, one_line

# Compiled for one build of PyTorch each. Beside another one its operators do not load, and its import fails for want of them.
COMPILED = "torchvision"


def library(module: str, extra: str, purpose: str) -> ModuleType:
    """A library's module.

    Args:
        module: what is imported, such as ``torchvision.models``.
        extra: of regbench, which brings the library.
        purpose: what needs it, as the message begins.

    Raises:
        SurroundingsError: it is not installed here, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise SurroundingsError(f"{purpose} needs the package {missing}: pip install 'regbench[{extra}]'") from None
    except Exception as error:  # Of another version of what it builds on, a library raises what it likes.
        said = one_line(error)
        if COMPILED in said:
            raise SurroundingsError(
                f"{purpose} needs torchvision, whose build does not fit the one of PyTorch here ({said}): install both from "
                "one index, the same as each other's for CPUs or for CUDA"
            ) from None
        package = module.partition(".")[0]
        raise SurroundingsError(f"{purpose} needs {package}, which cannot be imported here: {said}") from None
