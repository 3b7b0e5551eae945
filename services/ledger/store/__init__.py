"""The only code that knows SQL: one function is one statement."""
