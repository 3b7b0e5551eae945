"""The worker that applies what time brings about."""
