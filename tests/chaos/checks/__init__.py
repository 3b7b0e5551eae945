"""The promises, each with a check of its own that reads what the callers saw and the final ledger, and nothing else.

Nothing of the service and nothing of its client is imported: a fault in them would otherwise be found right by itself.
"""

from tests.chaos.checks.report import CHECKS, Report, check_folder

__all__ = ["CHECKS", "Report", "check_folder"]
