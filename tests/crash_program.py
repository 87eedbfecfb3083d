"""Does operations, each in a fork of its own that kills itself at a given step.

It reads the arguments of `run` as a line of JSON for each, and prints the status of the fork.
"""

import json
import os
import signal
import sys
import threading
import traceback

from django.core.files.base import ContentFile
from django.db import connection
from urllib3 import HTTPConnectionPool

from files.models import File
from files.storage import bucket, client, copying, writing
from tests.operations import content, operate


def main():
    writing.PART_SIZE = copying.COPY_PART_SIZE = 5 * 2**20
    warm_up()
    say("warm")
    for line in sys.stdin:
        say(status_of_fork(*json.loads(line)))


def say(answer):
    sys.stdout.write(f"{answer}\n")
    sys.stdout.flush()


def warm_up():
    """Load all that an operation needs, and leave neither threads nor connections to the forks."""
    file = File.objects.create(object_key=ContentFile(b"warm", name="warm"))
    file.rename("warmer")
    file.delete()
    connection.close()
    client.client().close()
    file.storage.objects._http.close()
    bucket._bucket.cache_clear()


def status_of_fork(*arguments):
    """Run in a fork; return its status, or the signal that killed it as a negative number."""
    child = os.fork()
    if not child:
        try:
            run(*arguments)
        except BaseException:  # noqa: BLE001 - it is printed
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(operation, pk, size, in_transaction, moment, number):
    """Do the operation, and kill this process before or after its step of this number."""
    lock = threading.Lock()
    steps = {"before": 0, "after": 0}

    def step(kind):
        with lock:
            steps[kind] += 1
            if (kind, steps[kind]) == (moment, number):
                os.kill(os.getpid(), signal.SIGKILL)

    def query(execute, *arguments):
        step("before")
        return execute(*arguments)

    def commit(commit=connection._commit):
        step("before")
        commit()

    def request(pool, method, *arguments, urlopen=HTTPConnectionPool.urlopen, **options):
        step("before")
        response = urlopen(pool, method, *arguments, **options)
        if method != "HEAD":
            step("after")
        return response

    file = File.objects.get(pk=pk)
    connection._commit = commit
    HTTPConnectionPool.urlopen = request
    with connection.execute_wrapper(query):
        operate(operation, file, content("new", size), in_transaction=in_transaction)
