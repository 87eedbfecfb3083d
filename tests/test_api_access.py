"""Who may do what: each address of the API and of contents, by each method, for each who asks."""

from typing import NamedTuple

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import URLPattern, get_resolver, reverse

from files.models import Run, Token, Work
from files.tokens import expiry
from tests.responses import closing

pytestmark = [pytest.mark.django_db, pytest.mark.alike]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Role(NamedTuple):
    """A user of some permissions, or of all, who may come with a token."""

    permission: str  # "all" is a superuser
    scope: str = ""
    prefix: str = ""


# Who asks, in the order of the columns below. Each file is in the folder a/.
ROLES = {
    "nobody": None,
    "none": Role(""),
    "view": Role("view_file"),
    "add": Role("add_file"),
    "change": Role("change_file"),
    "delete": Role("delete_file"),
    "all": Role("all"),
    "r-view": Role("view_file", Token.Scope.READ),
    "r-all": Role("all", Token.Scope.READ),
    "w-view": Role("view_file", Token.Scope.WRITE),
    "w-all": Role("all", Token.Scope.WRITE),
    "r-a/": Role("all", Token.Scope.READ, "a/"),
    "w-a/": Role("all", Token.Scope.WRITE, "a/"),
    "r-b/": Role("all", Token.Scope.READ, "b/"),
    "w-b/": Role("all", Token.Scope.WRITE, "b/"),
}

# What comes out: a method that has no line here must be 405 for all. HEAD is as GET.
OUTCOMES = """
                         nobody none view  add change delete all  r-view r-all w-view w-all  r-a/ w-a/ r-b/ w-b/
api:root            GET     401  200  200  200    200    200 200     200   200    200   200   200  200  200  200
api:schema          GET     401  200  200  200    200    200 200     200   200    200   200   200  200  200  200
api:files           GET     401  403  200  403    403    403 200     200   200    200   200   200  200  200  200
api:files           POST    401  403  403  201    403    403 201     403   403    403   201   403  201  403  403
api:file            GET     401  403  200  403    403    403 200     200   200    200   200   200  200  404  404
api:file            PATCH   401  403  403  403    404    403 200     403   403    403   200   403  200  403  404
api:file            DELETE  401  403  403  403    403    403 409     403   403    403   409   403  409  403  404
api:content         PUT     401  403  403  403    403    403 200     403   403    403   200   403  200  403  404
api:trash           POST    401  403  403  403    403    404 200     403   403    403   200   403  200  403  404
api:restore         POST    401  403  403  403    403    403 200     403   403    403   200   403  200  403  404
api:uploads         POST    401  403  403  200    403    403 200     403   403    403   200   403  200  403  403
api:upload_parts    POST    401  403  403  400    403    403 400     403   403    403   400   403  400  403  400
api:upload_state    POST    401  403  403  400    403    403 400     403   403    403   400   403  400  403  400
api:upload_finish   POST    401  403  403  400    403    403 400     403   403    403   400   403  400  403  400
api:upload_abort    POST    401  403  403  400    403    403 400     403   403    403   400   403  400  403  400
api:usage           GET     401  403  200  403    403    403 200     200   200    200   200   200  200  200  200
api:zip             GET     401  403  200  403    403    403 200     200   200    200   200   200  200  404  404
api:zip             POST    401  403  200  403    403    403 200     200   200    200   200   200  200  404  404
api:works           GET     401  200  200  200    200    200 200     200   200    200   200   200  200  200  200
api:work            GET     401  200  200  200    200    200 200     200   200    200   200   404  404  404  404
api:tokens          GET     401  200  200  200    200    200 200     200   200    200   200   200  200  200  200
api:tokens          POST    401  403  201  201    201    201 201     403   403    201   201   403  201  403  400
api:token           GET     401  200  200  200    200    200 200     404   404    404   404   404  404  404  404
api:token           DELETE  401  204  204  204    204    204 204     404   404    404   404   404  404  404  404
api:runs            GET     401  403  403  403    403    403 200     403   200    403   200   403  403  403  403
api:run             GET     401  403  403  403    403    403 200     403   200    403   200   403  403  403  403
api:run_lines       GET     401  403  403  403    403    403 200     403   200    403   200   403  403  403  403
files:content       GET     401  403  200  403    403    403 200     200   200    200   200   200  200  404  404
files:content_by_key GET    401  403  200  403    403    403 200     200   200    200   200   200  200  404  404
"""  # noqa: E501

UPLOAD_STEPS = ("abort", "finish", "parts", "state")

# What is sent to whom, where it is not the id of a file alone.
BODIES = {
    ("api:content", "PUT"): lambda file: b"new",
    ("api:file", "PATCH"): lambda file: {"key": f"a/new{file.pk}"},
    ("api:files", "POST"): lambda file: b"new",
    ("api:uploads", "POST"): lambda file: {"key": f"a/new{file.pk}", "size": 1},
    **{(f"api:upload_{name}", "POST"): lambda file: {} for name in UPLOAD_STEPS},
    ("api:tokens", "POST"): lambda file: {"prefix": "a/"},
    ("api:zip", "POST"): lambda file: {"ids": [file.pk]},
}
QUERIES = {
    "api:files": lambda file: {"key": f"a/new{file.pk}"},
    "files:content_by_key": lambda file: {"key": str(file)},
}
IDS = {
    "api:work": lambda file, user: Work.objects.create(user_id=user.pk if user else 0).pk,
    "api:token": lambda file, user: (
        Token.objects.issue(user, expires_at=expiry(1))[0].pk if user else 1
    ),
    "api:run": lambda file, user: Run.objects.create(command="check_files").pk,
    "api:run_lines": lambda file, user: Run.objects.create(command="check_files").pk,
}


def expected():
    """Return the outcomes of the table, by name and method."""
    (roles, *lines) = [line.split() for line in OUTCOMES.strip().splitlines()]
    assert roles == list(ROLES)
    found = {}
    for name, method, *statuses in lines:
        found[name, method] = dict(zip(roles, map(int, statuses), strict=True))
        if method == "GET":
            found[name, "HEAD"] = found[name, "GET"]
    return found


def routes(patterns=None, route="", namespace=""):
    """Yield names and arguments of the addresses below /api/ and /files/."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        path = route + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            if path.startswith(("api/", "files/")):
                yield f"{namespace}{pattern.name}", "pk" in pattern.pattern.regex.groupindex
        else:
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from routes(pattern.url_patterns, path, inner)


EXPECTED = expected()
ROUTES = dict(routes())


def test_each_address_has_a_line():
    assert {name for name, _ in EXPECTED} == set(ROUTES)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ROUTES)
def test_each_gets_what_the_table_says(name, method, make_file):
    outcomes = EXPECTED.get((name, method), dict.fromkeys(ROLES, 405))
    found = {}
    for number, (role, who) in enumerate(ROLES.items()):
        file = make_file(f"a/{number}.txt")
        found[role] = ask(name, method, file, who and log_in(role, who), who)
    assert found == outcomes


def log_in(name, who):
    user = User.objects.create(username=name, is_superuser=who.permission == "all")
    user.user_permissions.set(Permission.objects.filter(codename=who.permission))
    return user


def ask(name, method, file, user, who):
    """Return the status."""
    client, headers = Client(), {}
    if who and who.scope:
        values = {"scope": who.scope, "prefix": who.prefix, "expires_at": expiry(1)}
        headers["Authorization"] = f"Bearer {Token.objects.issue(user, **values)[1]}"
    elif who:
        client.force_login(user)
    find_id = IDS.get(name, lambda file, user: file.pk)
    url = reverse(name, kwargs={"pk": find_id(file, user)} if ROUTES[name] else {})
    body = BODIES.get((name, method))
    content = {} if body is None else {"data": body(file), "content_type": "application/json"}
    query = QUERIES.get(name, lambda file: {})(file)
    with closing(
        getattr(client, method.lower())(url, query_params=query, headers=headers, **content)
    ) as response:
        return response.status_code
