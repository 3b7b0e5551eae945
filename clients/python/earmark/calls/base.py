"""What all of the client's methods stand on."""

from earmark.coalescing import Coalescer
from earmark.messages import MessageClient


class Calls:
    """`_messages` makes the calls; `_coalescer` makes the small ones together, where that is asked for."""

    _messages: MessageClient
    _coalescer: Coalescer | None
