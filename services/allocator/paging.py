"""Pages: their size, their tokens, and cutting them at the size of an answer."""

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from services.allocator.form import Form
from services.ledger.rules import limits
from services.ledger.rules.refusal import FieldViolation, Reason, Refused

Item = TypeVar("Item")
Shown = TypeVar("Shown", bound=Message)

TOKEN_CHARACTERS_MAX: Final = 1_024
ANSWER_HEADROOM_BYTES: Final = 4_096
ITEM_OVERHEAD_BYTES: Final = 8


def page_size(form: Form, value: int) -> int:
    """The default for 0, and at most the greatest size, whatever was asked for."""
    if value < 0:
        form.fail("page_size", f"must not be negative, but is {value}; 0 is {limits.PAGE_SIZE_DEFAULT}")
    return min(value, limits.PAGE_SIZE_MAX) if value > 0 else limits.PAGE_SIZE_DEFAULT


def key_from(token: str, question: Message) -> tuple[str, ...] | None:
    """The last key of the page before; None for the first page. Raises Refused for a token of another question."""
    if not token:
        return None
    try:
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise ValueError
        asked, *key = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
        if asked != _fingerprint(question) or not key or not all(isinstance(each, str) for each in key):
            raise ValueError
        if any(b"\x00" in each.encode() for each in key):  # Half of a surrogate pair raises.
            raise ValueError
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise _foreign_token() from error
    return tuple(key)


def revision_key(key: tuple[str, ...] | None) -> tuple[str, int] | None:
    """A key of (organization, revision). Raises Refused for one of another list."""
    if key is None:
        return None
    if len(key) != 2 or not key[1].isascii() or not key[1].isdigit() or not 0 < int(key[1]) < limits.REVISION_MAX:
        raise _foreign_token()
    return key[0], int(key[1])


def page(
    items: Iterable[Item],
    size: int,
    question: Message,
    show: Callable[[Item], Shown],
    key_of: Callable[[Item], tuple[str, ...]],
) -> tuple[list[Shown], str]:
    """At most `size` of the items, within the size of an answer; and the token of the next page if there is more."""
    shown: list[Shown] = []
    room = limits.ANSWER_BYTES_MAX - ANSWER_HEADROOM_BYTES
    last_key: tuple[str, ...] = ()
    for item in items:
        message = show(item)
        room -= message.ByteSize() + ITEM_OVERHEAD_BYTES
        if len(shown) == size or (shown and room < 0):
            return shown, page_token(question, last_key)
        shown.append(message)
        last_key = key_of(item)
    return shown, ""


def page_token(question: Message, key: tuple[str, ...]) -> str:
    """Of the page behind the key."""
    value: list[Any] = [_fingerprint(question), *key]
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _foreign_token() -> Refused:
    why = "is not one that this list gave out for these very fields; begin again without one"
    return Refused(Reason.INVALID_PAGE_TOKEN, f"page_token {why}", violations=(FieldViolation("page_token", why),))


def _fingerprint(question: Message) -> str:
    """Of what is asked for, but for the page itself."""
    plain = type(question)()
    plain.CopyFrom(question)
    plain.ClearField("page_size")
    plain.ClearField("page_token")
    content = type(question).__name__.encode() + plain.SerializeToString(deterministic=True)
    return sha256(content).hexdigest()[:16]
