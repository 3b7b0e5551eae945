"""Earmark for Python.

    async with earmark.Client("127.0.0.1:50051") as client:
        change = await client.enable("my-organization", offering="endpoint-sensor", units=100)
        print(change.balance.available_credits)

`earmark.sync.Client` is the same without `await`. What is answered is in `earmark.types`, what is raised in
`earmark.errors`, and the messages of the contract, for those who want them, are in `earmark.messages` and
`earmark.v1`.
"""

from earmark import errors, names, types
from earmark.client import Client
from earmark.errors import EarmarkError
from earmark.messages.channels import Tls
from earmark.messages.retrying import Retry
from earmark.operations import Adjust, Disable, Enable, Step
from earmark.types import Price

__all__ = [
    "Adjust",
    "Client",
    "Disable",
    "EarmarkError",
    "Enable",
    "Price",
    "Retry",
    "Step",
    "Tls",
    "errors",
    "names",
    "types",
]
