"""What happens that others count, as the metrics do: sent whether or not somebody listens."""

from django.dispatch import Signal

request_answered = Signal()  # method, route, status, sent (bytes), seconds
database_connected = Signal()  # outcome
secret_fetched = Signal()  # outcome
