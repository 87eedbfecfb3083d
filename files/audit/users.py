"""Logins, tokens, and who is allowed what: by signals."""

from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save

from files.audit.lines import record

FLAGS = ("is_active", "is_staff", "is_superuser")
VERBS = {"post_add": "added", "post_remove": "removed", "post_clear": "removed"}


def connect() -> None:
    """Listen from now on."""
    user_logged_in.connect(_logged_in)
    user_logged_out.connect(_logged_out)
    user_login_failed.connect(_login_failed)
    user = get_user_model()
    pre_save.connect(_remember_flags, sender=user)
    post_save.connect(_compare_flags, sender=user)
    for relation in (user.user_permissions, user.groups, Group.permissions):
        m2m_changed.connect(_relation_changed, sender=relation.through)
    token = apps.get_model("files", "Token")
    post_save.connect(_token_saved, sender=token)
    post_delete.connect(_token_deleted, sender=token)


def _logged_in(sender: Any, user: Any, **about: Any) -> None:
    record("login", user=_named(user))


def _login_failed(sender: Any, credentials: dict[str, Any], **about: Any) -> None:
    """Record whose account was tried: another name may be a password, typed in its place."""
    model = get_user_model()
    name = credentials.get(model.USERNAME_FIELD)
    user = model._default_manager.filter(**{model.USERNAME_FIELD: name}).first()
    record("login", "failed", user=_named(user) if user else {"id": None, "name": None})


def _logged_out(sender: Any, user: Any, **about: Any) -> None:
    if user is not None:
        record("logout", user=_named(user))


def _named(user: Any) -> dict[str, Any]:
    return {"id": user.pk, "name": user.get_username()}


def _remember_flags(
    sender: Any, instance: Any, raw: bool, update_fields: Any = None, **about: Any
) -> None:
    """Ask for the flags that the user had, where they may change: not at a login."""
    if raw or (update_fields is not None and not set(FLAGS) & set(update_fields)):
        instance._flags_before = None
        return
    before = sender._default_manager.filter(pk=instance.pk).values(*FLAGS).first()
    instance._flags_before = before or {"is_active": True, "is_staff": False, "is_superuser": False}


def _compare_flags(sender: Any, instance: Any, **about: Any) -> None:
    before = instance._flags_before or {}
    changed = {
        name: getattr(instance, name)
        for name, value in before.items()
        if getattr(instance, name) != value
    }
    if changed:
        _record_permissions(instance, changed)


def _relation_changed(
    sender: Any, instance: Any, action: str, reverse: bool, model: Any, pk_set: Any, **about: Any
) -> None:
    if action not in VERBS or pk_set == set():
        return
    if pk_set is None:
        names: Any = "all"
    else:
        found = model._default_manager.filter(pk__in=pk_set)
        if model._meta.model_name == "permission":  # whose name has that of its model
            found = found.select_related("content_type")
        names = sorted(map(str, found))
    _record_permissions(instance, {VERBS[action]: names, "relation": sender._meta.model_name})


def _record_permissions(subject: Any, changed: dict[str, Any]) -> None:
    """Record it once it is committed; who did it is known then too."""
    of = {"kind": subject._meta.model_name, "id": subject.pk, "name": str(subject)}
    transaction.on_commit(lambda: record("permissions", of=of, changed=changed), robust=True)


def _token_saved(sender: Any, instance: Any, created: bool, **about: Any) -> None:
    if created:
        _record_token("create token", instance)


def _token_deleted(sender: Any, instance: Any, **about: Any) -> None:
    _record_token("revoke token", instance)


def _record_token(action: str, token: Any) -> None:
    of = {
        "id": token.pk,
        "name": token.name,
        "user": _named(token.user),
        "scope": token.scope,
        "prefix": token.prefix,
        "expires_at": token.expires_at,
    }
    transaction.on_commit(lambda: record(action, of=of), robust=True)
