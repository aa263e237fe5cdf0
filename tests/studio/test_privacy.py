"""Who is at this machine, who owns what."""

from __future__ import annotations

import pytest

from models.runtime.errors import Forbidden
from models.runtime.settings import Settings
from studio.privacy import Caller, is_admin, is_local, owner_key
from studio.runs import RunRecord

HERE = Settings()


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860"])
def test_the_user_at_this_machine(host: str) -> None:
    assert is_local(HERE, {"host": host})


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        (HERE, {"host": "evil.example:7860"}),
        (HERE, {"host": "127.0.0.1.evil.example"}),
        (HERE, {}),
        (HERE, {"host": "localhost", "x-forwarded-for": "1.2.3.4"}),
        (HERE, {"host": "localhost", "forwarded": "for=1.2.3.4"}),
        (HERE.with_(host="0.0.0.0"), {"host": "localhost"}),
        (HERE.with_(share=True), {"host": "localhost"}),
        (HERE.with_(space_id="a/b"), {"host": "localhost"}),
    ],
)
def test_everybody_else(settings: Settings, headers: dict[str, str]) -> None:
    assert not is_local(settings, headers)


def test_admin_needs_the_token_or_this_machine() -> None:
    settings = HERE.with_(host="0.0.0.0", admin_token="boss")
    assert is_admin(settings, False, "boss") and not is_admin(settings, False, "bos")
    assert is_admin(HERE, True, "") and not is_admin(HERE, False, "")
    with pytest.raises(Forbidden):
        Caller("browser:x").check_admin()


def test_owner_keys_hide_the_secret() -> None:
    assert owner_key("ann", "s") == "login:ann"
    key = owner_key(None, "my secret")
    assert key.startswith("browser:") and "secret" not in key and key != owner_key(None, "my secret2")
    assert owner_key(None, "") == ""


def test_nobody_owns_what_has_no_owner() -> None:
    record = RunRecord(id="x" * 24, pipeline="fake", owner="")
    stranger = Caller()
    assert not stranger.owns(record) and stranger.listed == "nobody"
    assert Caller("login:ann").owns(record.model_copy(update={"owner": "login:ann"}))
    assert Caller(sees_all=True).owns(record) and Caller(sees_all=True).listed is None
