"""What the pages call partners' files: their states and steps, why one is rejected, and what to do then."""

from __future__ import annotations

from typing import Final

from counterfoil.dashboard.words import C_, N_

STATES: Final[dict[str, tuple[str, str, str]]] = {
    "received": ("info", C_("a file", "Received"), N_("Kept as it came, and being opened.")),
    "crediting": ("info", C_("a file", "Being credited"), N_("It is whole and genuine; its points go out.")),
    "credited": ("good", C_("a file", "Credited"), N_("Every record of it is decided.")),
    "rejected": ("bad", C_("a file", "Rejected"), N_("As a whole: nothing of it was credited.")),
    "repeated": ("calm", C_("a file", "Repeated"), N_("It came before, and gets the same response.")),
}
"""State to tone, name and meaning."""

STEPS: Final[dict[str, str]] = {
    "received": C_("a step", "Received"),
    "opened": C_("a step", "Opened"),
    "credited": C_("a step", "Credited"),
    "answered": C_("a step", "Answered"),
    "sent": C_("a step", "Sent"),
    "confirmed": C_("a step", "Fetched"),
}
VIAS: Final[dict[str, str]] = {
    "api": N_("uploaded"),
    "sftp": N_("fetched from the partner's server"),
    "dropbox": N_("dropped into our box"),
}

_ENCRYPT: Final = N_(
    "The partner encrypts the file to our key, which stands on its page, and sends it again."
)
_SIGN: Final = N_("The partner signs the file with the key that is pinned on its page, and sends it again.")
_AGAIN: Final = N_("It was damaged or cut short on its way: the partner sends it again.")
_HEADER: Final = N_("The partner corrects the header, or you correct what was agreed on its page.")
_TOTALS: Final = N_(
    "Records were lost or changed on the way, or counted wrongly: the partner makes the file anew."
)
_LAYOUT: Final = N_("The partner's file and its layout differ: compare them, and mend one of the two.")
_KEY: Final = N_("The partner gives a new public key, which you pin, and signs the file again with it.")
_RECORDS: Final = N_(
    "By your terms one such record rejects the whole file. The partner mends these records, or you take the "
    "rule off the list on its page."
)
_SPLIT: Final = N_("The partner splits it into several files, each with the next number.")
_PROGRAM: Final = N_("The partner encrypts with a newer program, such as GnuPG 2.2 or later.")

REASONS: Final[dict[str, tuple[str, str]]] = {
    "not_openpgp": (N_("It is no OpenPGP message."), _ENCRYPT),
    "not_encrypted": (N_("It is not encrypted."), _ENCRYPT),
    "not_for_us": (N_("It is encrypted, but not to our key."), _ENCRYPT),
    "integrity_missing": (N_("It has no protection against changes."), _PROGRAM),
    "format_unsupported": (N_("It is in a form that only GnuPG itself reads."), _PROGRAM),
    "damaged": (N_("It is damaged or cut short."), _AGAIN),
    "not_signed": (N_("It is not signed, so anybody could have made it."), _SIGN),
    "several_signatures": (N_("It has several signatures; exactly one is accepted."), _SIGN),
    "signer_unknown": (N_("It is signed with a key that is not pinned."), _SIGN),
    "signature_weak": (
        N_("Its signature rests on a method that is broken."),
        N_("The partner signs with SHA-256 or better."),
    ),
    "signature_wrong": (
        N_("Its signature does not fit its content: it was changed after signing, or forged."),
        N_("Ask the partner whether this file is theirs before anything else."),
    ),
    "signature_future": (
        N_("Its signature is dated ahead of us."),
        N_("The partner sets its clock, and signs again."),
    ),
    "signature_expired": (N_("Its signature has expired."), _SIGN),
    "key_expired": (N_("It is signed with a key that has expired."), _KEY),
    "key_revoked": (N_("It is signed with a key that was revoked."), _KEY),
    "key_weak": (N_("It is signed with a key that is too weak, or not made for signing."), _KEY),
    "too_large": (N_("Its content is larger than what is taken."), _SPLIT),
    "timed_out": (N_("Opening it took too long."), _SPLIT),
    "partner_closed": (
        N_("The partner is closed."),
        N_("Open the partner again on its page, and have the file sent again."),
    ),
    "version_wrong": (N_("Its header names another version of the layout."), _HEADER),
    "environment_wrong": (N_("It is meant for another environment, such as a test."), _HEADER),
    "sender_wrong": (N_("Its header names another sender."), _HEADER),
    "receiver_wrong": (N_("Its header names another receiver."), _HEADER),
    "file_type_wrong": (N_("Its header says that it is no file of points."), _HEADER),
    "created_at_wrong": (N_("Its header says that it was made in the future."), _HEADER),
    "sequence_wrong": (
        N_("It does not have the next number: a file is missing, or came twice with another content."),
        N_("The partner sends the file with the number that is expected."),
    ),
    "record_count_wrong": (N_("Its trailer counts another number of records."), _TOTALS),
    "points_total_wrong": (N_("Its trailer has another sum of points."), _TOTALS),
    "hash_total_wrong": (N_("The check total of its trailer is another one."), _TOTALS),
    "file_empty": (N_("There is nothing in it."), _AGAIN),
    "file_header_missing": (N_("Its first line is no header."), _LAYOUT),
    "file_header_repeated": (N_("It has a second header: perhaps two files were joined."), _LAYOUT),
    "file_header_unreadable": (N_("Its header cannot be read."), _LAYOUT),
    "file_trailer_missing": (N_("It has no trailer: it was cut off."), _AGAIN),
    "file_trailer_unreadable": (N_("Its trailer cannot be read."), _LAYOUT),
    "file_after_trailer": (N_("Something follows its trailer."), _LAYOUT),
    "file_column_names_wrong": (N_("Its line of column names is another one."), _LAYOUT),
    "file_encoding_wrong": (N_("It is not in the encoding that was agreed."), _LAYOUT),
    "file_line_ending_wrong": (N_("Its lines end in another way than was agreed."), _LAYOUT),
    "file_line_too_long": (N_("One of its lines is far too long."), _LAYOUT),
    "file_nul_byte": (N_("It has a byte that no text has."), _LAYOUT),
    "file_points_out_of_range": (N_("Points in it are too large to be added up."), _LAYOUT),
    "file_too_many_records": (N_("It has more records than are taken at once."), _SPLIT),
    "record_fields_wrong": (N_("It has records with too few or too many fields."), _RECORDS),
    "record_customer_id_missing": (N_("It has records without a member."), _RECORDS),
    "record_points_unreadable": (N_("It has records whose points are no number."), _RECORDS),
    "record_reference_missing": (N_("It has records without a reference."), _RECORDS),
    "record_date_unreadable": (N_("It has records whose date cannot be read."), _RECORDS),
    "record_field_too_long": (N_("It has records with a field that is too long."), _RECORDS),
    "record_text_unreadable": (N_("It has records with a text that cannot be read."), _RECORDS),
    "record_points_out_of_range": (N_("It has records with too few or too many points."), _RECORDS),
    "record_date_out_of_window": (N_("It has records that are too old, or still to come."), _RECORDS),
    "record_offer_unknown": (N_("It has records with an offer that is not known."), _RECORDS),
    "record_duplicate": (N_("It has references that stand in it twice."), _RECORDS),
    "record_not_found": (N_("It has records of people who are no members."), _RECORDS),
    "record_closed": (N_("It has records of members whose account is closed."), _RECORDS),
}
"""Why a file was rejected, and what is to be done, by its reason."""

RECORD_STATES: Final[dict[str, tuple[str, str]]] = {
    "waiting": ("info", C_("a record", "Waiting")),
    "accepted": ("good", C_("a record", "Credited")),
    "rejected": ("bad", C_("a record", "Rejected")),
    "duplicate": ("calm", C_("a record", "Repeated")),
}

CODES: Final[dict[str, str]] = {
    "credited": N_("Credited before, under the same reference"),
    "repeated_in_file": N_("The reference stands in an earlier line of the file"),
    "reference_reused": N_("The reference was used before for something else"),
    "fields_wrong": N_("Too few or too many fields"),
    "text_unreadable": N_("A text cannot be read"),
    "field_too_long": N_("A field is too long"),
    "customer_id_missing": N_("No member named"),
    "points_unreadable": N_("Points are no number"),
    "reference_missing": N_("No reference"),
    "date_unreadable": N_("Date cannot be read"),
    "offer_code_missing": N_("No offer named"),
    "points_out_of_range": N_("Points out of range"),
    "date_out_of_window": N_("Date out of range"),
    "offer_unknown": N_("Offer not known"),
    "duplicate": N_("A reference stands in it twice"),
    "not_found": N_("No such member"),
    "closed": N_("Member's account is closed"),
    "limit_exceeded": N_("The balance would be too high"),
}
"""What became of a record, by its code. Codes of an outside system are its own, and shown as they are."""

WHYS: Final[dict[str, str]] = {
    "measuring": N_("Measuring: the round is not over"),
    "steady": N_("Steady: it takes as long as it should"),
    "latency_low": N_("More: batches are fast"),
    "latency_high": N_("Less: batches take too long"),
    "overloaded": N_("Less: the batch was refused"),
    "timed_out": N_("Less: the batch had no answer in time"),
    "held_back": N_("No more: it was refused there not long ago"),
    "probing": N_("One at a time, to measure what a batch takes alone"),
    "probed": N_("It is known again what a batch takes alone"),
    "unused": N_("No more: what is allowed is not used"),
    "bounds": N_("As far as the bounds allow"),
    "late": N_("The batch began before the last change"),
    "small": N_("The batch was too small to say anything"),
}
"""Why the limiter decided as it did."""

DONE: Final[dict[str, str]] = {
    "uploaded": N_("The file is here and is being opened."),
    "confirmed": N_("Noted: the partner has the response."),
}

PROBLEMS: Final[dict[str, str]] = {
    "file_missing": N_("Choose a file."),
    "partner_missing": N_("Choose the partner that the file is from."),
    "file_empty": N_("The file is empty."),
    "file_too_large": N_("The file is larger than what is taken; the partner splits it into several."),
    "partner_closed": N_("This partner is closed: nothing is taken from it."),
}
"""Code to the sentence that is shown above a form."""


def code_of(code: str) -> str:
    """What a code of a record means; codes of an outside system say it themselves."""
    return CODES.get(code, code.replace("%", "%%"))
