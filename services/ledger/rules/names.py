"""Resource names: how ids are written for people and on the wire."""


def organization_name(organization: str) -> str:
    return f"organizations/{organization}"


def subscription_name(organization: str, subscription: str) -> str:
    return f"organizations/{organization}/subscriptions/{subscription}"


def allocation_name(organization: str, allocation: str) -> str:
    return f"organizations/{organization}/allocations/{allocation}"


def entry_name(organization: str, revision: int) -> str:
    return f"organizations/{organization}/entries/{revision}"


def offering_name(offering: str) -> str:
    return f"offerings/{offering}"
