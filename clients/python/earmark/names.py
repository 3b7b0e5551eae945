"""Resource names, from ids and back.

Wherever the client takes an id it takes the resource's name as well: `x` and `organizations/x` mean the same.
"""

EVERY = "-"


def organization(organization: str) -> str:
    """`organizations/{organization}`."""
    return _named("organizations", organization)


def offering(offering: str) -> str:
    """`offerings/{offering}`."""
    return _named("offerings", offering)


def subscription(organization: str, subscription: str) -> str:
    """`organizations/{organization}/subscriptions/{subscription}`."""
    return _child(organization, "subscriptions", subscription)


def allocation(organization: str, allocation: str) -> str:
    """`organizations/{organization}/allocations/{allocation}`."""
    return _child(organization, "allocations", allocation)


def resource(organization: str, resource: str) -> str:
    """`organizations/{organization}/{resource}`, where the resource is `allocations/x` or `subscriptions/x`."""
    return resource if resource.startswith("organizations/") else f"{_named('organizations', organization)}/{resource}"


def id_of(name: str) -> str:
    """The last part of a name: `y` of `organizations/x/allocations/y`."""
    return name.rpartition("/")[2]


def organization_of(name: str) -> str:
    """The organization's id: `x` of `organizations/x/allocations/y`; empty where there is none."""
    parts = name.split("/")
    return parts[1] if parts[0] == "organizations" and len(parts) > 1 else ""


def _named(collection: str, value: str) -> str:
    return value if value.startswith(f"{collection}/") else f"{collection}/{value}"


def _child(parent: str, collection: str, value: str) -> str:
    """Raises ValueError for a name that belongs to another organization."""
    parent_name = organization(parent)
    if "/" not in value:
        return f"{parent_name}/{collection}/{value}"
    if not value.startswith(f"{parent_name}/{collection}/"):
        raise ValueError(f"{value!r} is not one of the {collection} of {parent_name!r}")
    return value
