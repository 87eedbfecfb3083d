"""Tokens: each user makes and revokes those of one's own, superusers those of all."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from files.models import Token
from files.tokens import expiry, usual_days


class TokenForm(forms.ModelForm):
    """A token that is to be made, by the days that it is to last."""

    days = forms.IntegerField(
        label=_("Days"), min_value=1, initial=usual_days, help_text=_("For how long it is good.")
    )

    class Meta:
        model = Token
        fields = ("name", "scope", "prefix")
        widgets = {"prefix": AdminTextInputWidget}

    def clean_days(self) -> int:
        """Refuse more than there may be."""
        days: int = self.cleaned_data["days"]
        try:
            self.instance.expires_at = expiry(days)
        except ValidationError as error:
            raise ValidationError(error.messages) from error
        return days


@admin.register(Token)
class TokenAdmin(admin.ModelAdmin):
    """Shows a token once, when it has been made, and never again."""

    form = TokenForm
    list_display = ["name_or_number", "user", "scope", "prefix", "state", "last_used"]
    list_per_page = 100
    readonly_fields = ("created_at", "expires_at", "last_used", "parent")
    list_select_related = ("user",)

    class Media:
        css = {"all": ["files/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Token]:
        tokens: QuerySet[Token] = super().get_queryset(request)
        return tokens if _sees_all(request) else tokens.filter(user=request.user.pk)

    def get_fields(self, request: HttpRequest, obj: Token | None = None) -> Any:
        owner = ("user",) if _sees_all(request) else ()
        if obj is None:
            return (*owner, "name", "scope", "prefix", "days")
        return ("user", "name", "scope", "prefix", *self.readonly_fields)

    def get_readonly_fields(self, request: HttpRequest, obj: Token | None = None) -> Any:
        return () if obj is None else super().get_readonly_fields(request, obj)

    def get_form(
        self, request: HttpRequest, obj: Token | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj is None:
            kwargs["fields"] = self.get_fields(request)
        return super().get_form(request, obj, change, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"user": request.user.pk}

    def has_view_permission(self, request: HttpRequest, obj: Token | None = None) -> bool:
        return self.has_add_permission(request) and _is_theirs(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Allow it to all who may do something with files: a token does no more."""
        return request.user.has_module_perms("files")

    def has_change_permission(self, request: HttpRequest, obj: Token | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Token | None = None) -> bool:
        return self.has_view_permission(request, obj)

    @admin.display(description=_("name"), ordering="name")
    def name_or_number(self, token: Token) -> str:
        return str(token)

    @admin.display(description=_("expires"), ordering="expires_at")
    def state(self, token: Token) -> Any:
        return _("expired") if token.expires_at <= timezone.now() else token.expires_at

    @admin.display(description=_("last used"), ordering="last_used_at")
    def last_used(self, token: Token) -> Any:
        return token.last_used_at or _("never")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        buttons = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, buttons | (extra_context or {}))

    def save_model(self, request: HttpRequest, obj: Token, form: Any, change: bool) -> None:
        """Make the token; its text is for the answer alone."""
        names = {"name", "scope", "prefix", "user"} & form.cleaned_data.keys()
        values = {"user": request.user, **{name: form.cleaned_data[name] for name in names}}
        made, obj.text = Token.objects.issue(**values, expires_at=obj.expires_at)  # type: ignore[attr-defined]
        obj.pk = made.pk

    def response_add(
        self, request: HttpRequest, obj: Token, post_url_continue: str | None = None
    ) -> Any:
        """Show the token, which no message may keep: sessions are rows of the database."""
        context = self.admin_site.each_context(request) | {
            "title": gettext("The token"),
            "opts": self.opts,
            "text": obj.text,  # type: ignore[attr-defined]
            "token": obj,
        }
        return TemplateResponse(request, "admin/files/token/issued.html", context)


def _sees_all(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))


def _is_theirs(request: HttpRequest, token: Token | None) -> bool:
    return token is None or _sees_all(request) or token.user_id == request.user.pk
