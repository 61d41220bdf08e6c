"""Counterfoil: marketing vouchers and loyalty points, and what became of every single one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counterfoil.linkage.link import link as link

__version__ = "0.1.0"

# The library's functions load on first use: `import counterfoil` stays light for the server and the command.
_LIBRARY = {"link": "counterfoil.linkage.link"}


def __getattr__(name: str) -> Any:
    if name in _LIBRARY:
        return getattr(import_module(_LIBRARY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LIBRARY})
