"""Who may use which method of a view: closed, unless the view says otherwise."""

from typing import Any

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from files import access

ANYBODY = "anybody"  # who has logged in or has a token, and no matter what for


class NotAllowedError(MethodNotAllowed):
    """The view has no such method; `allowed` are those that it has."""

    def __init__(self, method: Any, allowed: list[str]) -> None:
        super().__init__(str(method))
        self.allowed = allowed


class Allowed(BasePermission):
    """Lets those do something who have the permission that the view names for the method."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether the user may use the method here: closed where the view names nothing."""
        if request.method not in view.allowed_methods:
            raise NotAllowedError(request.method, view.allowed_methods)
        if not request.user.is_authenticated:
            return False
        need = view.needs.get("GET" if request.method == "HEAD" else request.method)
        if need == ANYBODY:
            return True
        if callable(need):
            return bool(need(request.user))
        return need is not None and access.has_permission(request.user, need)
