"""The layer below `earmark.Client`: one method for each RPC, which answers with the message of the contract.

For those who want protobuf: `client.messages` of an open `earmark.Client`, or a `MessageClient` of one's own.
"""

from earmark.messages.client import MessageClient
from earmark.messages.wire import price

__all__ = ["MessageClient", "price"]
