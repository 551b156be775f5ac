"""A night: what is billed in one run, how it is told, and who hears of a failure."""
