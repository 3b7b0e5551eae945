"""Earmark for Python: an async client and the command line `earmark`.

    async with earmark.Client("127.0.0.1:50051") as client:
        answer = await client.enable_allocation("my-organization", offering="endpoint-sensor", units=100)
        print(answer.balance.available_credits)

Answers are the messages of the contract, in `earmark.v1`.
"""

from earmark import names
from earmark.client import Client
from earmark.connection import Tls
from earmark.errors import EarmarkError
from earmark.operations import Adjust, Disable, Enable, Step
from earmark.wire import price

__all__ = ["Adjust", "Client", "Disable", "EarmarkError", "Enable", "Step", "Tls", "names", "price"]
