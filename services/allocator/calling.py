"""What all handlers share: who calls, how long they wait, and one change of one organization."""

from dataclasses import dataclass
from typing import Any, Final

from grpc import aio

from services.allocator.form import Form
from services.ledger.ledger import Ledger
from services.ledger.rules import limits
from services.ledger.rules.answers import Answer
from services.ledger.rules.commands import Call, Command
from services.ledger.rules.refusal import Refused

CALL_SECONDS_MAX: Final = 30.0
"""For callers that set no deadline, or a later one."""
ANSWER_SECONDS: Final = 0.1
"""So much before the caller's deadline the answer is on its way."""
ACTOR_KEY: Final = "earmark-actor"

Context = aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and for how many seconds they wait."""

    actor: str
    seconds: float


def caller(form: Form, context: Context) -> Caller:
    """The verified identity of the client's certificate where there is one, else what the metadata says."""
    remaining: float | None = context.time_remaining()
    seconds = CALL_SECONDS_MAX if remaining is None else min(CALL_SECONDS_MAX, remaining)
    return Caller(_actor(form, context), seconds - min(ANSWER_SECONDS, seconds / 4))


async def change(
    ledger: Ledger, organization: str, command: Command, request_id: str, validate_only: bool, who: Caller
) -> Answer:
    """Carries the command out, or says what it would do. Raises Refused."""
    call = Call(command, request_id, who.actor)
    if not validate_only:
        return await ledger.change(organization, call, who.seconds)
    [verdict] = await ledger.rehearse(organization, [call], who.seconds)
    if isinstance(verdict, Refused):
        raise verdict
    return verdict


def _actor(form: Form, context: Context) -> str:
    # Which caller may touch which organization would be decided here, from the identity.
    authenticated = context.auth_context()
    for key in ("x509_subject_alternative_name", "x509_common_name"):
        for identity in authenticated.get(key, ()):
            text = identity.decode("utf-8", "replace")[: limits.TEXT_CHARACTERS_MAX]
            return "".join(each if each.isprintable() else "?" for each in text)
    for key, value in context.invocation_metadata() or ():
        if key == ACTOR_KEY and isinstance(value, str):
            return form.text(f"metadata {ACTOR_KEY}", value)
    return ""
