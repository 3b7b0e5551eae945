"""A request of every method that is right, and the organization that it is about."""

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, Final

from tests.support.reflected import ReflectedClient

Fields = dict[str, Any]

DAY_SECONDS: Final = 86_400
TODAY: Final = int(datetime.now(UTC).timestamp()) // DAY_SECONDS * DAY_SECONDS
LATER: Final = {"seconds": TODAY + 365 * DAY_SECONDS}
PRICE: Final = {"credits_per_block": "1", "block_units": 10, "max_credits": 5_000}
PLACEHOLDER: Final = "acme"
"""Stands for the organization that an input is about."""
ACME: Final = f"organizations/{PLACEHOLDER}"
WITNESS: Final = "witness"
"""Never named where it could be changed."""
OTHERS: Final = ("aaaa", "other", WITNESS)

RIGHT: Final[dict[str, Fields]] = {
    "CreateOrganization": {
        "organization_id": f"{PLACEHOLDER}-new",
        "organization": {"display_name": "New", "overdraft_limit": 5},
    },
    "UpdateOrganization": {
        "organization": {"name": ACME, "display_name": "Acme", "overdraft_limit": 10**6},
        "update_mask": {"paths": ["display_name", "overdraft_limit"]},
    },
    "GetOrganization": {"name": ACME},
    "ListOrganizations": {"page_size": 2},
    "CreateSubscription": {
        "parent": ACME,
        "subscription_id": "new",
        "subscription": {"credits": 100, "end_time": LATER, "grace_period": {"seconds": 5}, "labels": {"a": "b"}},
    },
    "UpdateSubscription": {
        "subscription": {"name": f"{ACME}/subscriptions/s", "credits": 10**6, "end_time": LATER},
        "update_mask": {"paths": ["credits", "end_time"]},
    },
    "CancelSubscription": {"name": f"{ACME}/subscriptions/s"},
    "GetSubscription": {"name": f"{ACME}/subscriptions/s"},
    "ListSubscriptions": {"parent": ACME, "page_size": 1},
    "EnableAllocation": {"parent": ACME, "allocation_id": "a", "offering": "offerings/app", "units": 3},
    "AdjustAllocation": {"name": f"{ACME}/allocations/a", "delta_units": 1, "request_id": "once"},
    "DisableAllocation": {"name": f"{ACME}/allocations/a"},
    "UpdateAllocation": {"allocation": {"name": f"{ACME}/allocations/a", "priority": 1}},
    "ApplyOperations": {
        "parent": ACME,
        "request_id": "operations",
        "operations": [
            {"enable": {"allocation_id": "b", "offering": "offerings/app", "units": 1}},
            {"adjust": {"name": f"{ACME}/allocations/b", "delta_units": 1}},
            {"disable": {"name": f"{ACME}/allocations/b"}},
        ],
    },
    "GetAllocation": {"name": f"{ACME}/allocations/a"},
    "ListAllocations": {"parent": ACME, "offering": "offerings/app", "page_size": 1},
    "CreateOffering": {"offering_id": f"{PLACEHOLDER}-new", "offering": {"display_name": "New", "price": PRICE}},
    "UpdateOffering": {"offering": {"name": "offerings/spare", "price": PRICE}, "update_mask": {"paths": ["price"]}},
    "GetOffering": {"name": "offerings/app"},
    "ListOfferings": {"page_size": 1},
    "CheckEntitlement": {"parent": ACME, "offering": "offerings/app"},
    "CheckEntitlements": {
        "parent": ACME,
        "targets": [{"offering": "offerings/app"}, {"allocation": f"{ACME}/allocations/a"}],
    },
    "GetUsage": {"name": ACME},
    "QueryUsageHistory": {
        "name": ACME,
        "interval": {"start_time": {"seconds": TODAY - 7 * DAY_SECONDS}, "end_time": {"seconds": TODAY + DAY_SECONDS}},
        "step": 2,
    },
    "ForecastUsage": {"name": ACME, "until": LATER},
    "EstimateCredits": {"lines": [{"offering": "offerings/app", "units": 30}], "organization": ACME},
    "ListEntries": {
        "parent": ACME,
        "kinds": [10, 11],
        "resource": f"{ACME}/allocations/a",
        "interval": {"start_time": {"seconds": TODAY - DAY_SECONDS}, "end_time": {"seconds": TODAY + 2 * DAY_SECONDS}},
        "after_revision": 1,
        "page_size": 1,
    },
    "WatchUsage": {"name": ACME, "after_revision": 1},
    "WatchBalances": {"names": [ACME, f"organizations/{WITNESS}"]},
    "Check": {"service": "earmark.v1.UsageService"},
    "Watch": {"service": "earmark.v1.UsageService"},
    "ServerReflectionInfo": {"file_containing_symbol": "earmark.v1.UsageService"},
}


def right_request(method: str, organization: str) -> Fields:
    """Empty for a method that is not listed: its fields are tried all the same."""
    fields: Fields = named(deepcopy(RIGHT.get(method, {})), organization)
    return fields


def named(value: Any, organization: str) -> Any:
    """With the organization for the placeholder, wherever it stands."""
    if isinstance(value, str):
        return value.replace(PLACEHOLDER, organization)
    if isinstance(value, dict):
        return {named(key, organization): named(each, organization) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [named(each, organization) for each in value]
    return value


async def prepare_catalog(client: ReflectedClient) -> None:
    """Two offerings, and the organizations that no input is about."""
    for offering in ("app", "spare"):
        await client.call("CreateOffering", offering_id=offering, offering={"price": PRICE})
    for organization in OTHERS:
        await prepare(client, organization)


async def prepare(client: ReflectedClient, organization: str) -> None:
    """One with two subscriptions and three allocations."""
    parent = f"organizations/{organization}"
    await client.call("CreateOrganization", organization_id=organization)
    for subscription in ("s", "t"):
        terms = {"credits": 10**6, "end_time": LATER}
        await client.call("CreateSubscription", parent=parent, subscription_id=subscription, subscription=terms)
    for allocation in ("a", "b", "c"):
        sent = {"allocation_id": allocation, "offering": "offerings/app", "units": 5}
        await client.call("EnableAllocation", parent=parent, **sent)
    sent = {"name": f"{parent}/allocations/a", "delta_units": 1, "request_id": "first"}
    await client.call("AdjustAllocation", **sent)
