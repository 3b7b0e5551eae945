"""How a process lives: settings, logs, start, stop."""
