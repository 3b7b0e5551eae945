"""What is done to the system in a campaign. Each fault says, in its own words and figures, what it hit."""

from tests.chaos.faults.database import DATABASE
from tests.chaos.faults.hanging import HANGING
from tests.chaos.faults.kind import Chances, Kind
from tests.chaos.faults.network import NETWORK
from tests.chaos.faults.processes import PROCESSES
from tests.chaos.faults.redis import REDIS

KINDS = (*PROCESSES, *DATABASE, *REDIS, *NETWORK, *HANGING)
"""In an order that stays: a seed's schedule follows from it."""

__all__ = ["KINDS", "Chances", "Kind"]
