"""Connectors: further sources of the energy feeds, which ask a public service for the rows.

What belongs here: asking ENTSO-E, the North American markets and Electricity Maps, and turning
their answers into the CSV files that the folder source would hold; ``live`` is the way in. What
does not: judging a row. Landing reads a connector's files like any other delivery.
"""
