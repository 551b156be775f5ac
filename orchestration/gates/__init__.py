"""Gates: what is expected of the landed feeds, judged by Great Expectations before anything is billed.

``usage_profile`` and ``price_profile`` measure what is landed, the files of ``suites`` say what the
measures should be, ``judge`` lets Great Expectations compare the two, ``verdicts`` decides whether
the feeds may be billed and writes down why, ``data_docs`` shows it to people. Nothing here changes
a row.
"""
