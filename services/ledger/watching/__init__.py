"""Watching: each new revision is read once in this process, however many watch; Postgres is the buffer of the slow."""
