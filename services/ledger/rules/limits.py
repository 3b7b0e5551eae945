"""The bounds of everything (the table of limits in docs/architecture.md)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

CREDITS_MAX: Final = 10**12
"""Credits of one subscription, of one allocation, of an overdraft limit."""

HELD_CREDITS_MAX: Final = 2**52
"""Allocated + suspended credits of an organization."""

UNITS_MAX: Final = 10**12
"""Units of an allocation, and units of a price's block."""

PRICE_MAX: Final = 10**9
PRICE_PLACES_MAX: Final = 6
PRICE_VERSIONS_MAX: Final = 100

LIVE_SUBSCRIPTIONS_MAX: Final = 1_000
OPEN_ALLOCATIONS_MAX: Final = 1_000_000
OFFERINGS_MAX: Final = 10_000

LABELS_MAX: Final = 16
LABEL_BYTES_MAX: Final = 63
TEXT_CHARACTERS_MAX: Final = 256
"""Of a display name, an order reference, an actor."""

ID_CHARACTERS_MAX: Final = 128
REQUEST_ID_CHARACTERS_MAX: Final = 128

OPERATIONS_MAX: Final = 1_000
PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_MAX: Final = 1_000
ANSWER_BYTES_MAX: Final = 3 * 2**20

NAMES_LISTED_MAX: Final = 100
"""Of the allocations that a change resumed, suspended or left waiting, an answer lists so many."""

NAMES_ASKED_MAX: Final = 1_000
"""Names, lines or targets in a call."""

HISTORY_STEPS_MAX: Final = 10_000

REVISION_MAX: Final = 2**63 - 1

ENTRIES_SCANNED_MAX: Final = 10_000
"""So many entries are looked at for one page of a filtered list."""

ENDING_WITHIN_DAYS: Final = (30, 60, 90)

CAUSES_LISTED_MAX: Final = 5

GRACE_DEFAULT: Final = timedelta(days=30)
GRACE_MAX: Final = timedelta(days=365)

INSTANT_MIN: Final = datetime(2000, 1, 1, tzinfo=UTC)
INSTANT_END: Final = datetime(2201, 1, 1, tzinfo=UTC)
"""Exclusive."""

REMINDER_DAYS_OF_TERM: Final = (90, 30, 7, 1)
REMINDER_DAYS_OF_GRACE: Final = (7, 1)

THRESHOLD_PERCENTS: Final = (75, 90, 100)
THRESHOLD_SLACK_PERCENT: Final = 5
"""A crossed threshold is armed again so many percent points below itself."""

ID_PATTERN: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._~-]{{0,{ID_CHARACTERS_MAX - 1}}}\Z", re.ASCII)
REQUEST_ID_PATTERN: Final = re.compile(rf"[ -~]{{1,{REQUEST_ID_CHARACTERS_MAX}}}\Z")
PRICE_PATTERN: Final = re.compile(rf"[0-9]{{1,16}}(\.[0-9]{{1,{PRICE_PLACES_MAX}}})?\Z", re.ASCII)
"""A plain decimal number; that it is not above PRICE_MAX is to be checked besides."""


def has_control_characters(text: str) -> bool:
    """Of those no text for people may hold any."""
    return any(ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0 for each in text)
