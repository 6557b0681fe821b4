"""The parser and the compiler of `re`, which have no public name."""

from __future__ import annotations

import importlib
import sys
from typing import Final

__all__ = ["codes", "compiler", "parser"]

# Python 3.11 moved them into the package `re`, and importing the old names warns since then.
_PACKAGED: Final = sys.version_info >= (3, 11)

parser: Final = importlib.import_module("re._parser" if _PACKAGED else "sre_parse")
compiler: Final = importlib.import_module("re._compiler" if _PACKAGED else "sre_compile")
codes: Final = importlib.import_module("re._constants" if _PACKAGED else "sre_constants")
