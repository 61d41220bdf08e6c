"""Files on the other side: what is known of one, which names are taken, and which files are whole.

A partner's file name is hostile until shown otherwise. It is never used as a path of ours, and only plain
names are taken: letters, marks and digits of any script, `.`, `_`, `-` and spaces inside.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Final

LONGEST_NAME_BYTES: Final = 200
"""In UTF-8. File systems take 255; the rest is for what is added, such as `.part`."""
UNFINISHED: Final = (".part", ".tmp", ".temp", ".partial", ".filepart", ".crdownload", ".swp", "~")
"""Ends of names under which programs write what is not whole yet."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on the other side: its base name, its bytes, when it was last written."""

    name: str
    size: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Ignored:
    """A file that was left where it is, with its name made safe to show, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a look into a directory found: whole files, oldest first, and what is left alone."""

    whole: list[Remote]
    ignored: list[Ignored]


def shown(name: str) -> str:
    """A hostile name for people to read: what is not printable is escaped, what is long is cut."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return text if len(text) <= 100 else text[:100] + "..."


def why_unsafe(name: str) -> str | None:
    """Why a name is not taken, as words that follow `the name`; None if it is a plain name."""
    if not name or name in {".", ".."}:
        return "is none"
    if any(0xD800 <= ord(character) <= 0xDFFF for character in name):
        return "is not UTF-8"
    if len(name.encode()) > LONGEST_NAME_BYTES:
        return f"is longer than {LONGEST_NAME_BYTES} bytes"
    if name[0] in ".-~" or name != name.strip():
        return "begins with a dot, a dash or a space, or ends with a space"
    if not all(c in "._- " or unicodedata.category(c)[0] in "LM" or c.isdecimal() for c in name):
        return "has characters other than letters, digits, dot, dash, underscore and space"
    return None


def is_unfinished(name: str) -> bool:
    """Whether a name says that its file is still being written."""
    return name.startswith(".") or name.lower().endswith(UNFINISHED)
