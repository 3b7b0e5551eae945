"""The client for programs without an event loop.

with earmark.sync.Client("127.0.0.1:50051") as client:
    change = client.enable("my-organization", offering="endpoint-sensor", units=100)
    print(change.balance.available_credits)
"""

from earmark.sync.client import Client

__all__ = ["Client"]
