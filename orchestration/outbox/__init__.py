"""The outbox: what was published goes out, policy actions to the usage API, alerts to webhooks.

``due`` and ``alerts`` say what is to be sent, ``sender`` sends it in order, ``store/receipts`` holds
what became of it, ``report`` is the list that people read. Nothing here opens the warehouse: only
what was published is sent.
"""
