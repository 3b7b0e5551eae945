"""The client of everything that an allocator offers."""

from earmark.messages.allocations import Allocations
from earmark.messages.catalog import Catalog
from earmark.messages.organizations import Organizations
from earmark.messages.subscriptions import Subscriptions
from earmark.messages.usage import Usage


class MessageClient(Allocations, Subscriptions, Organizations, Catalog, Usage):
    """One method for each RPC; it answers with the message of the contract, a list or a watch with an async iterator.

        async with MessageClient("127.0.0.1:50051") as client:
            await client.create_subscription("my-organization", credits=10_000, end_time=end)

    What exists is named by its id or its resource name, what is new by its id. A mutation is sent with a new
    request id unless one is given: to repeat a call safely, give it the id that it was sent with
    (`EarmarkError.request_id`). Every method raises EarmarkError; ValueError and TypeError mean that nothing
    was sent.
    """
