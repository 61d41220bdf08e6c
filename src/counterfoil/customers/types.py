"""Words of this room."""

from __future__ import annotations

from typing import Final, Literal, get_args

Grade = Literal["vip", "regular", "key_prospect", "prospect", "weak_prospect", "non_prospect"]
"""How a merchant sees a customer: existing ones by what they spent, new ones by how near they came."""

GRADES: Final[tuple[str, ...]] = get_args(Grade)
