"""Dagster's UI on this machine's own address, and the front before it."""
