"""Counterfoil: marketing vouchers and loyalty points, and what became of every single one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counterfoil.linkage.analyse import analyse as analyse
    from counterfoil.linkage.breaks import breaks as breaks
    from counterfoil.linkage.breaks import reconcile as reconcile
    from counterfoil.linkage.evidence import link_by_evidence as link_by_evidence
    from counterfoil.linkage.link import link as link
    from counterfoil.linkage.uplift import uplift as uplift

__version__ = "0.1.0"

# The library's functions load on first use: `import counterfoil` stays light for the server and the command.
_LIBRARY = {
    "analyse": "counterfoil.linkage.analyse",
    "breaks": "counterfoil.linkage.breaks",
    "link": "counterfoil.linkage.link",
    "link_by_evidence": "counterfoil.linkage.evidence",
    "reconcile": "counterfoil.linkage.breaks",
    "uplift": "counterfoil.linkage.uplift",
}


def __getattr__(name: str) -> Any:
    if name in _LIBRARY:
        return getattr(import_module(_LIBRARY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LIBRARY})
