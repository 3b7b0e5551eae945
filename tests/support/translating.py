"""The steps of the model's lives as commands of the ledger."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from services.ledger.rules.commands import (
    AdjustAllocation,
    ApplyOperations,
    Call,
    CancelSubscription,
    Command,
    CreateSubscription,
    DisableAllocation,
    EnableAllocation,
    Operation,
    UpdateAllocation,
    UpdateOrganization,
    UpdateSubscription,
)
from services.ledger.rules.limits import GRACE_DEFAULT
from tests.model.lives import Step
from tests.support.memory_store import instant


def calls_of(step: Step, malformed: Iterable[int]) -> list[Call]:
    """The calls that a step makes; of several with a verdict each, those that are well-formed."""
    arguments = dict(step.arguments)
    if arguments.get("allow_partial"):
        return [
            Call(_operation(each), str(each.get("request_id") or ""))
            for index, each in enumerate(_operations(arguments))
            if index not in malformed
        ]
    return [Call(_command(step.call, arguments), str(arguments.get("request_id") or ""))]


def _command(call: str, sent: Mapping[str, Any]) -> Command:
    match call:
        case "apply":
            return ApplyOperations(tuple(_operation(each) for each in _operations(sent)))
        case "update_allocation":
            return UpdateAllocation(sent["allocation_id"], sent.get("priority"), sent.get("labels"))
        case "create_subscription":
            return _purchase(sent)
        case "update_subscription":
            return _amendment(sent)
        case "cancel_subscription":
            return CancelSubscription(sent["subscription_id"], sent.get("force", False))
        case "update_organization":
            return UpdateOrganization(
                display_name=sent.get("display_name"),
                overdraft_limit=sent.get("overdraft_limit"),
                overdraft_unlimited=sent.get("overdraft_unlimited"),
                force=sent.get("force", False),
            )
        case _:
            return _operation({"op": call, **sent})


def _operation(sent: Mapping[str, Any]) -> Operation:
    match sent["op"]:
        case "enable":
            name = sent.get("allocation_id") or sent["offering"]
            labels = sent.get("labels") or None
            return EnableAllocation(name, sent["offering"], sent["units"], sent.get("priority"), labels)
        case "adjust":
            return AdjustAllocation(sent["allocation_id"], sent["delta_units"])
        case "disable":
            return DisableAllocation(sent["allocation_id"])
    raise AssertionError(sent)


def _operations(sent: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    operations: list[Mapping[str, Any]] = sent["operations"]
    return operations


def _purchase(sent: Mapping[str, Any]) -> CreateSubscription:
    return CreateSubscription(
        subscription=sent.get("subscription_id"),
        credits=sent["credits"],
        end_time=instant(sent["end"]),
        start_time=instant(sent["start"]) if "start" in sent else None,
        grace_period=timedelta(microseconds=sent["grace"]) if "grace" in sent else GRACE_DEFAULT,
        renews=sent.get("renews"),
        made_up_id=sent.get("made_id", ""),
    )


def _amendment(sent: Mapping[str, Any]) -> UpdateSubscription:
    return UpdateSubscription(
        subscription=sent["subscription_id"],
        credits=sent.get("credits"),
        start_time=instant(sent["start"]) if "start" in sent else None,
        end_time=instant(sent["end"]) if "end" in sent else None,
        grace_period=timedelta(microseconds=sent["grace"]) if "grace" in sent else None,
        force=sent.get("force", False),
    )
