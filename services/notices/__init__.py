"""Notices: hints on Redis pub/sub that an organization has a new revision. Nothing depends on them."""
