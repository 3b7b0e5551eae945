"""What a case finds as it begins: an organization of its own, as the table `worlds.json` describes it."""

import json
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import json_format
from grpc import aio

from clients.conformance.host.contract import BY_NAME

TABLE: Final = Path(__file__).with_name("worlds.json")
NAME: Final = re.compile(r"\{(\w+)\}")
INSTANT: Final = re.compile(r"\+([0-9]+)d")
SECONDS: Final = 20.0


def new_names() -> dict[str, str]:
    """Of what no other case has: `organization` and `other`, and `offering`, which only the case itself creates."""
    unique = secrets.token_hex(4)
    return {"organization": f"o-{unique}", "other": f"p-{unique}", "offering": f"f-{unique}"}


def fill(value: Any, names: Mapping[str, Any]) -> Any:
    """With each `{name}` replaced; a text that is nothing else becomes the value itself. Unknown names stay."""
    if isinstance(value, Mapping):
        return {fill(key, names): fill(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [fill(each, names) for each in value]
    if not isinstance(value, str):
        return value
    whole = NAME.fullmatch(value)
    if whole:
        return names.get(whole[1], value)
    return NAME.sub(lambda found: str(names.get(found[1], found[0])), value)


class Worlds:
    """Made at Earmark itself, past the proxy."""

    def __init__(self, upstream: aio.Channel) -> None:
        self._upstream = upstream
        table = json.loads(TABLE.read_text())
        self._offerings = table["offerings"]
        self._worlds = table["worlds"]

    async def offer(self) -> None:
        """The offerings that every case finds."""
        for request in self._offerings:
            try:
                await self._call("CreateOffering", request)
            except aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                    raise

    async def make(self, world: str, names: Mapping[str, str], now: datetime) -> None:
        """Raises ValueError for one that there is not."""
        if world not in self._worlds:
            raise ValueError(f"there is no world {world!r}; there are {', '.join(self._worlds)}")
        for number, call in enumerate(self._worlds[world], 1):
            [(method, request)] = fill(call, names).items()
            await self._call(method, {"request_id": f"world-{number}", **_instants(request, now)})

    async def _call(self, method: str, request: Mapping[str, Any]) -> None:
        found = BY_NAME[method]
        message = json_format.ParseDict(dict(request), found.request())
        rpc: aio.UnaryUnaryMultiCallable[bytes, bytes] = self._upstream.unary_unary(found.path)
        await rpc(message.SerializeToString(), timeout=SECONDS)


def _instants(value: Any, now: datetime) -> Any:
    """With each `+30d` as the instant that is 30 days from now."""
    if isinstance(value, Mapping):
        return {key: _instants(each, now) for key, each in value.items()}
    if isinstance(value, list):
        return [_instants(each, now) for each in value]
    found = INSTANT.fullmatch(value) if isinstance(value, str) else None
    return (now + timedelta(days=int(found[1]))).isoformat() if found else value
