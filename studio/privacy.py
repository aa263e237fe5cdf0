"""Who may see and do what. Faces are biometric data, so the default is: nobody but the one who gave them.

A run belongs to an owner key: a login name where login is on, else a hash of a secret the browser made up and keeps.
Its unguessable id is also its durable link: whoever holds it may look, only the owner may change or delete. On a
server that only this machine reaches, the one user at it sees everything.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from models.runtime.errors import Forbidden
from models.runtime.settings import Settings
from studio.runs import RunRecord

TOKEN_OWNER = "token"
LOCAL_OWNER = "local"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


@dataclass(frozen=True)
class Caller:
    """Someone at a surface. ``owner`` is written into runs; empty for a visitor without login or secret."""

    owner: str = ""
    sees_all: bool = False
    admin: bool = False

    @property
    def listed(self) -> str | None:
        """The owner whose runs may be listed; None lists everyone's. A visitor without a key finds nothing."""
        return None if self.sees_all else self.owner or "nobody"

    def owns(self, record: RunRecord) -> bool:
        """May find, stop, repeat and delete the run."""
        if self.sees_all or self.admin:
            return True
        return bool(self.owner) and same(self.owner, record.owner)

    def check_owns(self, record: RunRecord) -> None:
        """Raises Forbidden for a stranger."""
        if not self.owns(record):
            raise Forbidden("Only the one who made this run may do that; its link is for looking")

    def check_admin(self) -> None:
        """Raises Forbidden unless at this machine or with the admin token."""
        if not self.admin:
            raise Forbidden("This needs the studio's own machine, or the admin token (STUDIO_ADMIN_TOKEN)")


def same(one: str, other: str) -> bool:
    """Equality in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def owner_key(user: str | None, secret: str | None) -> str:
    """The owner key of a login name, else of a browser's secret, else empty."""
    if user:
        return f"login:{user}"
    if secret:
        return f"browser:{hashlib.sha256(secret.encode()).hexdigest()[:32]}"
    return ""


def is_local(settings: Settings, headers: Mapping[str, str]) -> bool:
    """True for a request by the user at this machine.

    The server must listen on the loopback address only, and the request must name that address: one that came through
    a proxy, or from a page whose name was made to point here, is somebody else's.
    """
    if not settings.loopback or any(headers.get(name) for name in _FORWARDED):
        return False
    host = headers.get("host", "")
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return name.lower() in _LOOPBACK


def is_admin(settings: Settings, local: bool, token: str) -> bool:
    """May change weights, delete everything, name places on the server: this machine, or the admin token."""
    return local or bool(settings.admin_token and token and same(token, settings.admin_token))
