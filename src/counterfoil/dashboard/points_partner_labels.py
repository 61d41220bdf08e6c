"""What the pages call partners: how their files look and come, what is checked, and what goes wrong."""

from __future__ import annotations

from typing import Final

from counterfoil.dashboard.words import C_, N_

STATES: Final[dict[str, tuple[str, str]]] = {
    "open": ("good", C_("a partner", "Open")),
    "closed": ("calm", C_("a partner", "Closed")),
}
"""State to tone and name."""

LAYOUTS: Final[dict[str, tuple[str, str]]] = {
    "delimited": (N_("Lines with bars"), N_("Header, details and trailer as H|, D| and T|, in UTF-8.")),
    "fixed": (N_("Fixed width"), N_("Every field has its place in the line.")),
    "csv": (N_("CSV"), N_("Commas and quotes, with a line of column names.")),
    "own": (N_("The partner's own"), N_("A description of its files, in TOML or JSON.")),
}
WAYS: Final[dict[str, tuple[str, str]]] = {
    "sent": (N_("They send them"), N_("Uploaded here, sent by a program, or dropped into our box.")),
    "server": (N_("We fetch them"), N_("From the partner's SFTP server; responses are put there, too.")),
}
COMPLETE: Final[dict[str, tuple[str, str]]] = {
    "rename": (N_("By its name"), N_("It is written under another name, such as `.part`, and renamed.")),
    "marker": (N_("By a marker"), N_("An empty file beside it is written last.")),
}
CREDITS: Final[dict[str, tuple[str, str]]] = {
    "ours": (N_("Our ledger"), N_("Points go to the members of this program.")),
    "outside": (N_("An outside loyalty system"), N_("It is asked over HTTP, once for each reference.")),
}
MODES: Final[dict[str, tuple[str, str]]] = {
    "batch": (N_("A batch in a request"), N_("The faster way, where the system offers it.")),
    "record": (N_("Each record in a request"), N_("Several at a time.")),
}
KEY_KINDS: Final[dict[str, tuple[str, str]]] = {
    "openpgp": (N_("OpenPGP"), N_("Its files are signed with it, and our responses encrypted to it.")),
    "ssh": (N_("SSH"), N_("The partner signs in at our drop box with it.")),
}
OWN_KEYS: Final[dict[str, tuple[str, str]]] = {
    "openpgp": (
        N_("OpenPGP"),
        N_("The partner encrypts its files to this key, and checks our responses by it."),
    ),
    "ssh": (N_("SSH"), N_("We sign in at the partner's server with this key.")),
}
OWN_KEY_FILES: Final[dict[str, str]] = {"openpgp": "counterfoil.asc", "ssh": "counterfoil.pub"}

RULES: Final[dict[str, str]] = {
    "fields_wrong": N_("Too few or too many fields"),
    "customer_id_missing": N_("No member named"),
    "points_unreadable": N_("Points are no number"),
    "reference_missing": N_("No reference"),
    "date_unreadable": N_("Date cannot be read"),
    "field_too_long": N_("A field is too long"),
    "text_unreadable": N_("A text cannot be read"),
    "points_out_of_range": N_("Points out of range"),
    "date_out_of_window": N_("Date out of range"),
    "offer_unknown": N_("Offer not known"),
    "duplicate": N_("A reference stands in it twice"),
    "not_found": N_("No such member"),
    "closed": N_("Member's account is closed"),
}
"""What can be wrong with a record, as far as it can reject the whole file."""

TROUBLE: Final[dict[str, str]] = {
    "sftp_host_forbidden": N_(
        "The server is in a private network, which only the setting COUNTERFOIL_WEBHOOK_ALLOW permits."
    ),
    "outside_unreachable": N_("The name of the outside system cannot be resolved."),
    "sftp_timed_out": N_("The server did not answer in time."),
    "sftp_unreachable": N_("The server cannot be reached: check host and port, and whether it is running."),
    "sftp_host_key_unknown": N_(
        "The server shows a host key that is not pinned. Ask the partner for its fingerprint before you add "
        "it."
    ),
    "sftp_not_spoken": N_("The server does not speak SFTP as it is spoken today."),
    "sftp_sign_in_refused": N_("The server does not accept our key: give the partner our public SSH key."),
    "sftp_missing": N_("A directory is not there: compare its name with the partner."),
    "sftp_permission_denied": N_("The server does not permit it: ask the partner for the right to."),
    "sftp_disk_full": N_("The disk of the server is full."),
    "sftp_failed": N_("The server refused."),
    "sftp_file_too_large": N_("A file there is larger than what is taken."),
    "sftp_too_many_files": N_("The directory has too many entries: old ones must be moved away."),
    "sftp_still_growing": N_("A file there is still being written."),
    "own_key_missing": N_("We have no key yet: make one below."),
    "partner_key_missing": N_("The partner has no OpenPGP key to encrypt to: add one."),
    "webhook_url_forbidden": N_(
        "The address leads into a private network, which only the setting COUNTERFOIL_WEBHOOK_ALLOW permits."
    ),
    "internal": N_("Something went wrong on our side; the log says what."),
}
"""Why a server could not be read, or a response not be sent, by code."""

CHECKS: Final[dict[str, str]] = {
    "own_key": N_("Our key, to open its files"),
    "partner_key": N_("Its key, to verify files and to encrypt responses"),
    "seal": N_("A response can be signed and encrypted"),
    "server": N_("Its server shows a pinned host key and lets us in"),
    "incoming": N_("The directory of its files can be read"),
    "responses": N_("The directory for our responses is there"),
    "done": N_("The directory for files that we have is there"),
    "outside": N_("The address of the outside system may be called"),
}
"""What is tried out, by the name of the check."""

DONE: Final[dict[str, str]] = {
    "added": N_("The partner is added. Exchange keys next."),
    "changed": N_("The change holds for files that come from now on."),
    "key": N_("The key is pinned."),
    "retired": N_("The key is trusted no longer."),
    "made": N_("The key is made. Give its public part to the partner."),
    "closed": N_("The partner is closed: nothing is taken from it any more."),
    "opened": N_("The partner is open again."),
}
"""What came of a button."""

PROBLEMS: Final[dict[str, str]] = {
    "key_unreadable": N_(
        "This is no single OpenPGP key. Paste one public key as text, from BEGIN PGP PUBLIC KEY BLOCK to its "
        "end."
    ),
    "key_secret": N_("This is a secret key: the partner must keep it. Paste the public one."),
    "key_revoked": N_("This key has been revoked. Ask for the key that replaces it."),
    "key_expired": N_("This key has expired. Ask the partner to extend it, and to export it again."),
    "key_weak": N_("This key is too weak, or has no part that signs and encrypts. Ask for a newer one."),
    "ssh_key_invalid": N_("This is no SSH key of a kind that is accepted: ssh-ed25519, ecdsa or ssh-rsa."),
    "key_missing": N_("Paste a key."),
    "not_confirmed": N_("Tick the box to say that you are sure."),
}
"""Code to the sentence that is shown above a form."""
