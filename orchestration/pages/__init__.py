"""Fuel gauges: a static page per customer, made from that customer's slice of the publication."""
