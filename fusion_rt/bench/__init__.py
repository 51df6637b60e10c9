"""Honest milliseconds: real processes, real sockets, medians and tails."""
