"""Values of partners' files."""

from __future__ import annotations

from typing import Final, Literal, get_args

PartnerState = Literal["open", "closed"]
KeyKind = Literal["openpgp", "ssh"]
Via = Literal["api", "sftp", "dropbox"]
"""How a file came: uploaded, collected from the partner's server, or dropped into our box."""
FileState = Literal["received", "crediting", "credited", "rejected", "repeated"]
"""`received`: kept as it came, not opened yet. `repeated`: it came before, and gets the same response."""
BatchState = Literal["open", "done"]
PartKind = Literal["received", "response"]
Status = Literal["accepted", "rejected", "duplicate"]
"""What became of a record. `duplicate`: its reference was decided before; the first result stands beside."""

PARTNER_STATES: Final[tuple[PartnerState, ...]] = get_args(PartnerState)
KEY_KINDS: Final[tuple[KeyKind, ...]] = get_args(KeyKind)
VIAS: Final[tuple[Via, ...]] = get_args(Via)
FILE_STATES: Final[tuple[FileState, ...]] = get_args(FileState)
BATCH_STATES: Final[tuple[BatchState, ...]] = get_args(BatchState)
PART_KINDS: Final[tuple[PartKind, ...]] = get_args(PartKind)
