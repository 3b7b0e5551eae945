"""Bad input by the hundred thousand: `python -m tests.fuzz`, and a slice of it in the tests."""
