"""Earmark for Python."""

from earmark import names
from earmark.errors import EarmarkError
from earmark.messages.channels import Tls
from earmark.operations import Adjust, Disable, Enable, Step

__all__ = ["Adjust", "Disable", "EarmarkError", "Enable", "Step", "Tls", "names"]
