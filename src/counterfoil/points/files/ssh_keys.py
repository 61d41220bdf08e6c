"""SSH keys of ours and of partners: made, read, told apart by their fingerprints.

Only what is strong today is spoken: asyncssh's defaults without what rests on SHA-1, and of host keys
Ed25519, ECDSA and RSA (2048 bits or more, signing with SHA-2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypedDict

import asyncssh
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from counterfoil.errors import InvalidError

FEWEST_RSA_BITS: Final = 2048
_RSA: Final = ("rsa-sha2-512", "rsa-sha2-256")
HOST_KEY_KINDS: Final[dict[str, tuple[str, ...]]] = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": _RSA,
}
"""Kinds of keys that are accepted, and how each may sign."""


class Strong(TypedDict):
    """Options of asyncssh for both sides of a connection."""

    kex_algs: str
    mac_algs: str
    signature_algs: str


STRONG: Final[Strong] = {"kex_algs": "-*sha1", "mac_algs": "-*sha1*", "signature_algs": "-ssh-rsa"}
"""The defaults, minus what rests on SHA-1."""


def make_ssh_key(comment: str) -> tuple[str, str]:
    """A new Ed25519 key: the private one (OpenSSH's PEM, not encrypted) and its public line."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    return key.export_private_key("openssh").decode(), key.export_public_key("openssh").decode().strip()


def read_private_key(pem: str) -> asyncssh.SSHKey:
    """A private key without a passphrase; `InvalidError` for what is none."""
    try:
        return asyncssh.import_private_key(pem)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        detail = f"This is not a private SSH key without a passphrase: {error}."
        raise InvalidError(detail, code="ssh_key_invalid") from error


def read_public_key(line: str) -> asyncssh.SSHKey:
    """A public key from a line as OpenSSH writes it; `InvalidError` for what is none, or is weak."""
    try:
        # As bytes: names in comments are of any script, and text would have to be ASCII.
        key = asyncssh.import_public_key(line.encode(errors="replace"))
    except asyncssh.KeyImportError as error:
        detail = "Give a public SSH key as one line, such as `ssh-ed25519 AAAA...`."
        raise InvalidError(detail, code="ssh_key_invalid") from error
    if key.get_algorithm() not in HOST_KEY_KINDS:
        detail = f"Keys of the kind {key.get_algorithm()} are not accepted: use Ed25519, ECDSA or RSA."
        raise InvalidError(detail, code="ssh_key_invalid")
    inner = key.pyca_key
    if isinstance(inner, RSAPublicKey) and inner.key_size < FEWEST_RSA_BITS:
        raise InvalidError(f"An RSA key needs {FEWEST_RSA_BITS} bits or more.", code="ssh_key_invalid")
    return key


def public_line(key: asyncssh.SSHKey) -> str:
    """Kind and key as OpenSSH writes them, without the comment: equal for equal keys."""
    kind, text = key.export_public_key("openssh").decode().split()[:2]
    return f"{kind} {text}"


def fingerprint(line: str) -> str:
    """The fingerprint of a public key as `ssh-keygen -l` shows it: `SHA256:...`."""
    return read_public_key(line).get_fingerprint()


def ways_to_sign(keys: Sequence[asyncssh.SSHKey]) -> list[str]:
    """How servers with these host keys may sign: only these are asked for."""
    kinds = {key.get_algorithm() for key in keys}
    return [way for kind, ways in HOST_KEY_KINDS.items() if kind in kinds for way in ways]
