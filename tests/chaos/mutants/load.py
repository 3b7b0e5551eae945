"""The callers of a campaign with a client that is broken: its watches forget where they were."""

from collections.abc import AsyncIterator
from typing import Any

from earmark.messages import usage, watching
from tests.chaos.load.__main__ import main


async def forgetting(*args: Any, **options: Any) -> AsyncIterator[Any]:
    async for message in watching.follow(*args, **options):
        message.resume_token = ""
        yield message


if __name__ == "__main__":
    setattr(usage, "follow", forgetting)  # noqa: B010 - it is imported there
    main()
