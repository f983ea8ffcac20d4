"""Says what a check of a bundle found: plain sentences for who must decide on them, a table of the stores.

Source: R30.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from workers.evidence.findings import Finding, Report, Standing, StoreStory

STANDINGS: Final[Mapping[Standing, str]] = {
    Standing.VERIFIED: "verified: the controller looked again with its own eyes",
    Standing.ATTESTED: "attested: the store signed a second statement, later",
    Standing.ANSWERED: "answered, not yet looked at again",
    Standing.SILENT: "asked, no answer yet",
    Standing.BARRED: "not asked: nothing may cross that border",
    Standing.NOT_ASKED: "not asked",
    Standing.CONTRADICTING: "answered, and contradicted by a later statement",
    Standing.DECIDED: "in doubt, and accepted by a person of the controller, who gave a ground",
}

_FAULTS: Final[Mapping[str, str]] = {
    "another_ledger": "it is of another ledger than the trusted keys are",
    "answered_disagrees": "it calls the case answered, or not, against the ledger",
    "begins_without_a_request": "the case's entries do not begin with a request",
    "channel_disagrees": "the channel stated is not the one in the ledger",
    "closed_disagrees": "it calls the case closed, or not, against the ledger",
    "closed_without_proof": "the case is called closed though a store has not proved",
    "counts_disagree": "a receipt counts more than it found",
    "entry_left_out": "an entry of the case was left out or altered",
    "entry_says_more_than_receipt": "an entry claims what its receipt does not say",
    "fingerprint_disagrees": "a store's key does not have the fingerprint stated",
    "head_of_another_ledger": "a signed head is of another ledger",
    "heads_not_consistent": "the older head is not the beginning of the newer: the ledger was rewritten",
    "heads_out_of_order": "a head is dated after what came later",
    "key_id_twice": "two keys bear one id",
    "key_not_noted": "the ledger does not know a store's key",
    "leaf_not_in_ledger": "an entry did not stand in the signed ledger",
    "leaf_of_another_case": "an entry is of another case",
    "leaves_out_of_order": "the entries are not in the order of the ledger",
    "no_entry_of_the_case": "there is no entry of the case",
    "no_trusted_key": "it is signed by no key that is trusted here",
    "not_canonical": "it is not byte for byte as it was written",
    "received_at_disagrees": "the day of receipt stated is not the one in the ledger",
    "receipt_missing": "a receipt that the ledger names is missing",
    "receipt_not_noted": "a receipt stands here that the ledger does not know",
    "receipt_of_another_case": "a receipt says nothing of this case",
    "receipt_of_another_store": "a receipt answers for another store",
    "receipt_twice": "a receipt stands here twice",
    "right_disagrees": "the right stated is not the one in the ledger",
    "silence_disagrees": "the answer named other stores as silent than were",
    "store_left_out": "a store that the ledger names is missing from the list",
    "store_twice": "a store is listed twice",
    "stores_disagree": "the stores listed are not those that were to be asked",
    "too_large": "it is larger than any such file",
    "unusable_key": "a key cannot be used",
}

_FAMILIES: Final[Mapping[str, str]] = {
    "seal_": "its seal does not hold",
    "head_": "a signed head does not hold",
    "receipt_": "a receipt does not hold",
    "leaf_": "an entry cannot be read as one",
}

_NOTES: Final[Mapping[str, str]] = {
    "no_key_given": (
        "No key was given to compare with: the file was checked with the key it brings along. Compare that key's "
        "fingerprint with the one the controller published, or the check proves nothing about who made the file."
    )
}


def fault_sentence(fault: Finding) -> str:
    """What is wrong, where."""
    said = _FAULTS.get(fault.code)
    if said is None:
        family = next((words for start, words in _FAMILIES.items() if fault.code.startswith(start)), None)
        said = f"{family or 'it does not have the form of such a file'} ({fault.code})"
    return f"{said}, at {fault.where}" if fault.where else said


def sentences(report: Report) -> Iterator[str]:
    """The whole report in plain sentences, one by one."""
    if report.case is None:
        yield "This is no evidence file that can be read:"
    elif report.sound:
        yield from _about(report, report.case)
        yield "Everything in this file holds: nothing was altered, added, left out or put in another order."
    else:
        yield "This file does NOT hold. What it says must not be relied on:"
    for fault in report.faults:
        yield f"- {fault_sentence(fault)}"
    for note in report.notes:
        yield _NOTES[note]
    for key in report.ledger_keys:
        yield f"Ledger key {printable(key.kid)}, fingerprint {key.thumbprint}."


def _about(report: Report, case: Mapping[str, Any]) -> Iterator[str]:
    yield f"Case {case['reference']}, {case['right']}, received {moment(case['received_at'])}, due {case['due_on']}."
    yield f"State: {case['answer']}; proof: {case['proof']}. {len(report.entries)} entries in the ledger, numbered."
    if report.head is not None:
        yield f"The ledger had {report.head['size']} entries when its head was signed, {moment(report.head['at'])}."
    for story in report.stores:
        yield store_sentence(story)
    unproved = [story.code for story in report.stores if not story.standing.proved]
    if unproved:
        yield f"Not proved so far: {', '.join(unproved)}. Entries after the last one here are not in this file."


def store_sentence(story: StoreStory) -> str:
    """What one store was asked and answered."""
    asked = f"was asked on {moment(story.asked_at)}" if story.asked_at else "was not asked"
    answer = (
        f"answered on {moment(story.answered_at)}: {answer_words(story.entry)}" if story.entry else "has not answered"
    )
    return f"{printable(story.name)} ({story.country}) {asked} and {answer}. Proof: {STANDINGS[story.standing]}."


def answer_words(entry: Mapping[str, Any] | None) -> str:
    """A receipt's counts in words."""
    if entry is None:
        return "—"
    if entry["outcome"] == "nothing-held":
        return "nothing held"
    if entry["outcome"] == "refused":
        return f"refused ({entry.get('reason', 'no reason given')})"
    return "; ".join(_counts(one) for one in entry["collections"]) or entry["outcome"]


_COUNTED: Final = ("erased", "anonymised", "restricted", "corrected", "conflicting", "retained")


def _counts(one: Mapping[str, Any]) -> str:
    done = [f"{one[what]} {what}" for what in _COUNTED if one.get(what)]
    kept = f" ({one['ground']}{', until ' + one['until'] if 'until' in one else ''})" if one.get("retained") else ""
    return f"{one['name']}: {one['matched']} found{''.join(', ' + each for each in done)}{kept}"


def moment(wire: str | None) -> str:
    """A wire moment as people read it."""
    return "—" if wire is None else f"{wire[:10]} {wire[11:19]} UTC"


def printable(text: str) -> str:
    """Text of the file as it may go to a terminal: no control characters, no escape sequences."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def rows(stores: Sequence[StoreStory]) -> Iterator[tuple[str, ...]]:
    """The table: company, country, asked, answered, what, proof."""
    for story in stores:
        yield (
            printable(story.name),
            story.country,
            moment(story.asked_at),
            moment(story.answered_at),
            answer_words(story.entry),
            story.standing.value,
        )
