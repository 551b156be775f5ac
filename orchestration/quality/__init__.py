"""Gates: what is expected of the landed feeds, judged by Great Expectations before anything is billed.

``profile`` measures what is landed, ``suites`` says what the measures should be, ``judge`` lets
Great Expectations compare the two, ``gates`` decides whether the feeds may be billed and writes
down why. Nothing here changes a row.
"""
