"""Who calls: the page's own login, a bearer token, or nobody in particular where neither is set up."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request

from models.runtime.errors import Forbidden
from models.runtime.settings import Settings
from studio.api.errors import Unauthorized
from studio.privacy import TOKEN_OWNER, Caller, is_admin, is_local, owner_key, same

SECRET_HEADER = "x-studio-secret"
ADMIN_HEADER = "x-studio-admin"
_SAFE = {"GET", "HEAD", "OPTIONS"}


def caller_dependency(settings: Settings) -> Callable[[Request], Caller]:
    """The dependency of every route that is not open to all.

    Accepted are ``Authorization: Bearer`` with STUDIO_API_TOKEN or STUDIO_ADMIN_TOKEN, ``Authorization: Basic`` with
    the login, and the page's session cookie. Where neither login nor token is set up, everyone is let in, and the
    header ``X-Studio-Secret`` (any secret of the caller's own making) says whose runs are whose.

    Raises:
        Unauthorized: credentials are needed, or wrong.
        Forbidden: a page of another origin asks in a visitor's name.
    """

    def caller(request: Request) -> Caller:
        local = is_local(settings, request.headers)
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        scheme, value = scheme.lower(), value.strip()
        if scheme == "bearer":
            return _by_token(settings, value, local)
        check_origin(request)
        admin = is_admin(settings, False, request.headers.get(ADMIN_HEADER, ""))
        user = _basic_user(settings, value) if scheme == "basic" else session_user(request)
        if user is None and (settings.login or settings.api_token) and not admin:
            raise Unauthorized("Log in, or send STUDIO_API_TOKEN as a bearer token")
        return Caller(owner_key(user, request.headers.get(SECRET_HEADER)), local or admin, local or admin)

    return caller


def check_origin(request: Request) -> None:
    """Raises Forbidden for a request that a page of another origin made the browser send.

    Reading is refused as well: away from localhost the web framework lets every origin read answers with the visitor's
    cookie. Plain navigation, such as a link to a run, carries no origin and stays possible.
    """
    origin = request.headers.get("origin")
    if origin is None:
        site = request.headers.get("sec-fetch-site", "none")
        if request.method not in _SAFE and site not in ("same-origin", "none"):
            raise Forbidden("Requests from other web pages are refused")
        return
    own = {request.headers.get("host"), request.headers.get("x-forwarded-host")}
    if urlsplit(origin).netloc.lower() not in {host.lower() for host in own if host}:
        raise Forbidden("Requests from other web pages are refused")


def session_user(request: Request) -> str | None:
    """The user of the page's login session, kept by the web framework's application."""
    app: Any = request.app
    tokens, cookie = getattr(app, "tokens", None), getattr(app, "cookie_id", "")
    if not tokens or not getattr(app, "auth", None):
        return None
    for name in (f"access-token-{cookie}", f"access-token-unsecure-{cookie}"):
        user = tokens.get(request.cookies.get(name))
        if user is not None:
            return user
    return None


def _by_token(settings: Settings, token: str, local: bool) -> Caller:
    admin = bool(settings.admin_token) and same(token, settings.admin_token)
    if admin or (settings.api_token and same(token, settings.api_token)):
        return Caller(TOKEN_OWNER, sees_all=local or admin, admin=local or admin)
    raise Unauthorized("The token is not the one this studio was started with")


def _basic_user(settings: Settings, value: str) -> str:
    try:
        user, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Unauthorized("The Authorization header cannot be read") from error
    if settings.login is None:
        raise Unauthorized("This studio has no login")
    right_user, right_password = same(user, settings.login[0]), same(password, settings.login[1])
    if not (right_user and right_password):
        raise Unauthorized("Wrong user name or password")
    return user
