"""Replay: what other seeds would have made of usage that is landed already.

What belongs here: billing a window of deliveries in a data folder of its own, comparing what came
out, and the checks of a changed catalog that need the books. What does not: any billing. A replay
starts the same plan, dbt project and controls as a night does, with other settings.
"""
