"""Earmark under faults: real processes, clients that write down what they see, and a checker that reads only that."""
