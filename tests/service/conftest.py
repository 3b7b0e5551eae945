"""An allocator that listens, a channel to it for what our client would not send, and an offering or two."""

from collections.abc import AsyncIterator

import grpc
import pytest

from earmark.messages import MessageClient
from services.allocator.server import AllocatorServer
from tests.support.service_stories import offer


@pytest.fixture
async def channel(allocator: AllocatorServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(allocator.address) as channel:
        yield channel


@pytest.fixture
async def sensors(client: MessageClient) -> None:
    """Three sensors at 20, 5 and 25,000 credits a unit."""
    await offer(client, endpoint_sensor="20", email_sensor="5", network_sensor="25000")


@pytest.fixture
async def organization(client: MessageClient) -> str:
    """One that has bought nothing yet."""
    await client.create_organization("o-1")
    return "o-1"
