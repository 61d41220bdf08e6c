"""What can be wrong with the frames and files that linkage is given."""

from __future__ import annotations

from counterfoil.errors import InvalidError


class LinkageError(InvalidError):
    """The input cannot be linked as it is; the sentence says what to change."""

    code = "linkage_invalid"


class FrameKindError(LinkageError):
    """A frame is of a kind that is not supported, or the kinds are mixed."""

    code = "linkage_frame_kind"


class MissingColumnError(LinkageError):
    """A required column is not in a frame and was not mapped from another name."""

    code = "linkage_missing_column"


class ColumnMapError(LinkageError):
    """The `columns` argument names a frame or a column that does not exist."""

    code = "linkage_column_map"


class ColumnTypeError(LinkageError):
    """A column has a type that cannot mean what the column means."""

    code = "linkage_column_type"


class ReconciliationError(LinkageError):
    """Records in and records accounted for differ: a defect of the library, never of the data."""

    code = "linkage_reconciliation"


class FileError(LinkageError):
    """A file is missing, empty, torn or not what its name says."""

    code = "linkage_file"
