"""Earmark, broken on purpose in one way at a time: what the checker must notice."""
