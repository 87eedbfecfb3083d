"""S3's event notifications, and the queue of SQS that they come from."""

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import unquote_plus

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError

from project import aws

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BATCH = 10  # messages, SQS's limit
LONG = 20  # seconds that SQS waits for a message, its limit
SHORT = 1  # the least for which it looks at all of its servers

CONFIG = Config(
    connect_timeout=3,
    read_timeout=LONG + 10,
    retries={"mode": "standard", "total_max_attempts": 3},
)
THROTTLED = {"OverLimit", "RequestThrottled", "ThrottlingException"}
ADVICE = {
    "AWS.SimpleQueueService.NonExistentQueue": "check APP_EVENTS_QUEUE_URL, the region and the"
    " account",
    "AccessDenied": "allow sqs:ReceiveMessage and sqs:DeleteMessage on it to the role that runs"
    " this process",
    "ExpiredToken": "renew the AWS credentials",
    "InvalidClientTokenId": "check the AWS credentials",
    "SignatureDoesNotMatch": "check the AWS credentials and the clock of this machine",
}
ADVICE |= {
    "AccessDeniedException": ADVICE["AccessDenied"],
    "QueueDoesNotExist": ADVICE["AWS.SimpleQueueService.NonExistentQueue"],
}


class QueueError(OSError):
    """The queue cannot be read: `strerror` is a sentence with its URL and what to do."""


class QueueUnavailableError(QueueError):
    """SQS is out of reach or fails: try later."""


class EventError(ValueError):
    """A message is none of S3's."""


class Message(NamedTuple):
    """A message; `receipt` is by what it is deleted."""

    id: str
    receipt: str
    body: str


class Place(NamedTuple):
    """Where the object is, or was, that an event is about."""

    bucket: str
    key: str


def parse(body: str) -> list[Place]:
    """Return the objects that a message is about: S3's own, or what SNS or EventBridge make of it.

    S3's test of a new configuration is about none. A key with bytes that are not UTF-8 has these as
    halves of surrogate pairs. Raises EventError.
    """
    try:
        found = json.loads(body)
        if "Message" in found:  # SNS's envelope
            found = json.loads(found["Message"])
        if "detail" in found:  # EventBridge, which encodes no key
            return [_place(found["detail"], str)]
        if found.get("Event") == "s3:TestEvent":
            return []
        return [_place(record["s3"], _decode) for record in found["Records"]]
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise EventError("it is no event of S3") from None


def _place(found: Any, decode: Callable[[str], str]) -> Place:
    bucket, key = found["bucket"]["name"], found["object"]["key"]
    if not isinstance(key, str):
        raise TypeError
    return Place(bucket, decode(key))


def _decode(key: str) -> str:
    return unquote_plus(key, errors="surrogateescape")


class Queue:
    """A queue of SQS. Raises QueueUnavailableError, and QueueError for what needs a person."""

    def __init__(self, url: str) -> None:
        self.url = url
        with self._boundary():
            self._client = cast("SQSClient", aws.session().create_client("sqs", config=CONFIG))

    def receive(self, wait: int) -> list[Message]:
        """Return some messages, as soon as there are any within so many seconds.

        They are there again after the queue's visibility timeout, unless they are deleted.
        """
        with self._boundary():
            found = self._client.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=wait
            )
        return [
            Message(entry["MessageId"], entry["ReceiptHandle"], entry["Body"])
            for entry in found.get("Messages", ())
        ]

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete messages, BATCH at most; one that SQS does not delete is there again later."""
        if messages:
            with self._boundary():
                self._client.delete_message_batch(
                    QueueUrl=self.url,
                    Entries=[
                        {"Id": str(number), "ReceiptHandle": message.receipt}
                        for number, message in enumerate(messages)
                    ],
                )

    @contextmanager
    def _boundary(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._refused(error) from error
        except (NoConnectionError, HTTPClientError) as error:
            text = f"SQS is out of reach ({type(error).__name__}): check the network, AWS_REGION"
            raise QueueUnavailableError(
                errno.EHOSTUNREACH, f"{text} and AWS_ENDPOINT_URL"
            ) from None
        except (BotoCoreError, ValueError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            text = f"{reason}; check AWS's variables and configuration files"
            raise self._error(QueueError, text) from error

    def _refused(self, error: ClientError) -> QueueError:
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]
        if status["HTTPStatusCode"] >= 500 or code in THROTTLED:
            return self._error(QueueUnavailableError, f"SQS fails with {code}")
        advice = ADVICE.get(code, "see this code in the documentation of SQS")
        return self._error(QueueError, f"SQS says {code}; {advice}")

    def _error(self, kind: type[QueueError], text: str) -> QueueError:
        return kind(errno.EIO, f"The queue {self.url} cannot be read: {text}")
