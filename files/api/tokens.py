"""Tokens of one's own: a program makes some for others that may do no more than itself."""

from datetime import datetime
from typing import Any, ClassVar

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from files.api.permissions import ANYBODY
from files.api.view import View
from files.models import Token
from files.tokens import TokenQuerySet, expiry, token_of, usual_days, validate_prefix


class TokenSerializer(serializers.ModelSerializer):
    """What is known of a token; its text is in the answer that made it, and nowhere else."""

    user = serializers.CharField(source="user.username", help_text="Its user's name.")
    made_by = serializers.IntegerField(
        source="parent_id", allow_null=True, help_text="The id of the token that made it."
    )

    class Meta:
        model = Token
        fields: tuple[str, ...] = (
            "id",
            "user",
            "name",
            "scope",
            "prefix",
            "created_at",
            "expires_at",
            "last_used_at",
            "made_by",
        )
        read_only_fields: tuple[str, ...] = fields


class MadeTokenSerializer(TokenSerializer):
    """A token that has just been made."""

    token = serializers.CharField(source="text", help_text="It is told once: keep it.")

    class Meta(TokenSerializer.Meta):
        fields = (*TokenSerializer.Meta.fields, "token")
        read_only_fields = fields


class WantedTokenSerializer(serializers.Serializer):
    """A token that is to be made."""

    name = serializers.CharField(default="", allow_blank=True, max_length=200)
    scope = serializers.ChoiceField(Token.Scope.choices, default=Token.Scope.READ)
    prefix = serializers.CharField(
        default="", allow_blank=True, trim_whitespace=False, validators=[validate_prefix]
    )
    days = serializers.IntegerField(
        required=False,
        min_value=1,
        help_text="For how long it is good; without it 90, or as long as the token that makes it.",
    )


class TokensView(View):
    """One's own tokens; to a token, itself and those that it has made."""

    needs: ClassVar = {"GET": ANYBODY, "POST": ANYBODY}

    @extend_schema(operation_id="list_tokens", responses=TokenSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the tokens, the latest first."""
        return Response(TokenSerializer(_own(request), many=True).data)

    @extend_schema(
        operation_id="create_token",
        request=WantedTokenSerializer,
        responses={201: MadeTokenSerializer},
    )
    def post(self, request: Request) -> Response:
        """Make a token; by a token, one that may do no more, nowhere else and for no longer."""
        user: Any = request.user
        parent = token_of(user)
        if not user.has_module_perms("files"):
            raise PermissionDenied(_("You may do nothing with files, so that no token is of use."))
        if parent is not None and parent.scope != Token.Scope.WRITE:
            raise PermissionDenied(_("A token of the scope “read” makes no others."))
        wanted = WantedTokenSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        values = dict(wanted.validated_data)
        values["expires_at"] = _expiry(values.pop("days", None), parent)
        made, text = Token.objects.issue(user, **values, parent=parent)
        made.text = text  # type: ignore[attr-defined]
        headers = {"Location": reverse("api:token", args=[made.pk], request=request)}
        return Response(MadeTokenSerializer(made).data, status=201, headers=headers)


class TokenView(View):
    """One token of one's own."""

    needs: ClassVar = {"GET": ANYBODY, "DELETE": ANYBODY}
    fails: ClassVar = {"GET": (404,), "DELETE": (404,)}

    @extend_schema(operation_id="get_token", responses=TokenSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """Tell what is known of the token."""
        return Response(TokenSerializer(_find(request, pk)).data)

    @extend_schema(operation_id="revoke_token", responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Revoke the token at once, and those that were made by it."""
        _find(request, pk).delete()
        return Response(status=204)


def _expiry(days: int | None, parent: Token | None) -> datetime:
    if days is not None:
        return expiry(days)
    usual = expiry(usual_days())
    return usual if parent is None else min(usual, parent.expires_at)


def _own(request: Request) -> TokenQuerySet:
    user: Any = request.user
    tokens = Token.objects.filter(user=user.pk).select_related("user")
    token = token_of(user)
    return tokens if token is None else tokens.filter(pk=token.pk) | tokens.filter(parent=token.pk)


def _find(request: Request, pk: int) -> Token:
    token = _own(request).filter(pk=pk).first()
    if token is None:
        raise Http404
    return token
