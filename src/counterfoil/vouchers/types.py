"""Words of this room."""

from __future__ import annotations

from typing import Final, Literal, get_args

Precision = Literal["second", "day"]
"""How exactly a time is known: where a source keeps only days, the time is the day's first moment."""
PRECISIONS: Final[tuple[str, ...]] = get_args(Precision)

Assignment = Literal["random", "targeted"]
"""How the people of an audience were chosen: only `random` lets a difference be called an effect."""
ASSIGNMENTS: Final[tuple[str, ...]] = get_args(Assignment)

Group = Literal["treatment", "holdout"]
"""`holdout`: chosen, and then left alone, to compare with."""
GROUPS: Final[tuple[str, ...]] = get_args(Group)

EvidenceStatus = Literal["linked", "ambiguous", "unmatched"]
"""What the evidence said where the source had no transaction id; null where it had one."""
EVIDENCE_STATUSES: Final[tuple[str, ...]] = get_args(EvidenceStatus)
