"""The admin's site: who is let in where."""

from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth import authenticate
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy

from files import access

# For everybody who has an account, by their names in the URLconf.
_ACCOUNT = {"login", "logout", "password_change", "password_change_done", "jsi18n"}


class Site(AdminSite):
    """Shows files to those who may view them, and the rest to staff alone."""

    site_header = site_title = "Files"
    site_url = None  # there is no other
    index_title = gettext_lazy("Catalogue")
    login_form = AuthenticationForm  # the admin's own is for staff

    def has_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may see the page at this address, or some of it."""
        if super().has_permission(request):
            return True
        name = request.resolver_match.url_name if request.resolver_match else None
        if name in _ACCOUNT:
            return request.user.is_active
        files = reverse("admin:app_list", args=["files"])
        is_open = name == "index" or request.path.startswith(files)
        return is_open and access.may_read_any(request.user)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Refuse those who are logged in, where Django asks them to log in again."""
        admin_view = super().admin_view(view, cacheable)

        @wraps(admin_view)
        def refusing(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if request.user.is_authenticated and not self.has_permission(request):
                raise PermissionDenied(self._lack(request))
            return admin_view(request, *args, **kwargs)

        return refusing

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> Any:
        """Return files alone to those who are not staff, whatever other permissions they have."""
        found = super().get_app_list(request, app_label)
        if super().has_permission(request):
            return found
        return [app for app in found if app["app_label"] == "files"]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Lead those who are not staff to the files, since there is nothing else for them."""
        if super().has_permission(request):
            return super().index(request, extra_context)
        return redirect("admin:files_file_changelist")

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Take the old password as a login, so that those who guess it are locked out as there."""
        if request.method == "POST":
            password = request.POST.get("old_password")
            authenticate(request, username=request.user.get_username(), password=password)
            if getattr(request, "axes_locked_out", False):
                return HttpResponse(status=429)  # which the middleware of axes replaces
        return super().password_change(request, extra_context)

    def _lack(self, request: HttpRequest) -> str:
        if access.may_read_any(request.user):
            return gettext("This page is for staff alone: ask an administrator for what you need.")
        return gettext(
            "You may not view files yet: ask an administrator for the permission “Can view file”."
        )
