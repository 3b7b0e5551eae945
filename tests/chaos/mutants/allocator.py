"""The allocator, broken as CHAOS_MUTANT says."""

import os

from services.allocator.__main__ import main
from tests.chaos.mutants.breaking import BREAKING

if __name__ == "__main__":
    BREAKING[os.environ["CHAOS_MUTANT"]]()
    main()
