"""UsageBox: the usage feed over HTTP, from the metering engine itself.

What belongs here: asking the engine for a delivery day's events, writing them down as an ordinary
delivery file, and holding what landed against the engine's own sums. What does not: judging an
event. Landing reads the written file like any other delivery.
"""
