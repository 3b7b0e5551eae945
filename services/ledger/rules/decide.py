"""One call against the book: its request id, its rules, its threshold, its answer. Pure."""

from datetime import datetime
from typing import assert_never

from msgspec.structs import replace

from services.ledger.rules import names
from services.ledger.rules.allocating import operate, update_allocation
from services.ledger.rules.answers import Answer, Consequences, Outcome
from services.ledger.rules.book import Book, Moment, Remembered
from services.ledger.rules.commands import (
    AdjustAllocation,
    ApplyOperations,
    Call,
    CancelSubscription,
    Command,
    CreateOrganization,
    CreateSubscription,
    DisableAllocation,
    EnableAllocation,
    UpdateAllocation,
    UpdateOrganization,
    UpdateSubscription,
    meaning,
)
from services.ledger.rules.consequences import judge_threshold
from services.ledger.rules.model import Subscription
from services.ledger.rules.organizing import create_organization, update_organization
from services.ledger.rules.refusal import Reason, Refused, organization_not_found
from services.ledger.rules.subscribing import cancel_subscription, create_subscription, update_subscription


def decide(book: Book, organization: str, call: Call, now: datetime) -> Answer:
    """Carries the call out in the book, or raises `Refused` and leaves the book as it was.

    The book is settled up to `now`. A request id that was used before is looked up first: the same meaning gives the
    first answer again, another one is refused.
    """
    if remembered := book.requests.get(call.request_id):
        return _replay(remembered, call, organization)
    mark = book.mark()
    moment = Moment(now, now, call.actor, call.request_id)
    try:
        if book.organization is None and not isinstance(call.command, CreateOrganization):
            raise organization_not_found(organization)
        answer = _carry_out(book, organization, call.command, moment)
    except BaseException:
        book.back_to(mark)
        raise
    book.close()
    if call.request_id:
        book.remember(Remembered(call.request_id, meaning(call.command), answer))
    return answer


def _replay(remembered: Remembered, call: Call, organization: str) -> Answer:
    if remembered.meaning == meaning(call.command):
        return remembered.answer
    raise Refused(
        Reason.REQUEST_ID_REUSED,
        f"request id {call.request_id!r} of {names.organization_name(organization)} was used for a call with another "
        "meaning; make a new id for a new call",
        {"requestId": call.request_id},
        names.organization_name(organization),
    )


def _carry_out(book: Book, organization: str, command: Command, moment: Moment) -> Answer:
    outcome = _apply(book, organization, command, moment)
    if book.has_posted():
        judge_threshold(book, moment)
    return Answer(book.balance(moment.effective_time), outcome)


def _apply(book: Book, organization: str, command: Command, moment: Moment) -> Outcome:
    match command:
        case EnableAllocation() | AdjustAllocation() | DisableAllocation():
            return Outcome(allocations=tuple(operate(book, (command,), moment, several=False)))
        case ApplyOperations():
            done = operate(book, command.operations, moment, several=True)
            return Outcome(allocations=tuple(replace(each, labels={}) if each.labels else each for each in done))
        case UpdateAllocation():
            return Outcome(allocations=(update_allocation(book, command, moment),))
        case CreateSubscription():
            return _about_subscription(create_subscription(book, command, moment))
        case UpdateSubscription():
            return _about_subscription(update_subscription(book, command, moment))
        case CancelSubscription():
            return _about_subscription(cancel_subscription(book, command, moment))
        case CreateOrganization():
            create_organization(book, organization, command, moment)
            return Outcome(organization=book.state.fields)
        case UpdateOrganization():
            consequences = update_organization(book, command, moment)
            return Outcome(organization=book.state.fields, consequences=consequences)
        case _:
            assert_never(command)


def _about_subscription(done: tuple[Subscription, Consequences]) -> Outcome:
    return Outcome(subscription=done[0], consequences=done[1])
