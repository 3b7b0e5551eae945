"""The heart: the rules, and the only code that knows SQL."""
