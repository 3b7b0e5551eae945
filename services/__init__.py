"""Earmark's services and what they share."""
