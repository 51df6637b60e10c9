"""Logs at their limit: the recorder, its report of losses, reading, seeking."""
