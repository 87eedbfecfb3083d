"""What happens that others count, as the metrics do: sent whether or not somebody listens."""

from django.dispatch import Signal

s3_answered = Signal()  # operation, outcome (a status, or the name of an error), seconds
circuit_changed = Signal()  # name, is_out
audited = Signal()  # action, outcome
