"""The allocator, killed between its first commit and the notice of it."""

import os
import signal

from services.allocator.__main__ import main
from services.ledger.rules.answers import Balance
from services.notices.publisher import Publisher


def die(publisher: Publisher, balance: Balance) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    setattr(Publisher, "publish", die)  # noqa: B010 - a method is no variable to everybody else
    main()
