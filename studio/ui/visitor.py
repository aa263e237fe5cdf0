"""Who looks at the page: the login name, else the secret this browser keeps."""

from __future__ import annotations

import secrets

import gradio as gr

from models.runtime.settings import Settings
from studio.privacy import Caller, is_admin, is_local, owner_key


def new_secret() -> str:
    """A secret for a browser that has none yet."""
    return secrets.token_urlsafe(24)


def caller_of(settings: Settings, secret: str | None, request: gr.Request | None, admin_token: str = "") -> Caller:
    """The caller behind a request of the page; ``request`` is None outside of one."""
    headers = getattr(request, "headers", None) or {}
    local = request is not None and is_local(settings, headers)
    user = getattr(request, "username", None)
    key = owner_key(user, secret if isinstance(secret, str) else None)
    return Caller(key, sees_all=local, admin=is_admin(settings, local, admin_token))
