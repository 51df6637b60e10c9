"""Heads judged on real recordings of homes and people, beside simple methods that learned from the same
files."""
