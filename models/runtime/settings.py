"""One frozen settings object, built once by the studio from environment and command line and passed down.

Nothing below the studio floor reads the environment on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from models.runtime.errors import InputError

PIPELINE_IDS = ("face", "body", "talk", "character", "scene")
MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True)
class Limits:
    """Bounds on what the studio accepts and keeps. Sizes in bytes, times in seconds."""

    upload_bytes: int = 512 * MIB
    image_pixels: int = 64_000_000
    video_side: int = 4096
    video_seconds: float = 600.0
    audio_seconds: float = 600.0
    archive_members: int = 2000
    archive_bytes: int = 2 * GIB
    decode_seconds: float = 120.0
    max_photos: int = 200
    queue_size: int = 32
    run_age_days: float = 30.0
    runs_bytes: int = 20 * GIB
    measurement_age_days: float = 7.0
    measurement_bytes: int = 2 * GIB


@dataclass(frozen=True)
class Settings:
    """Everything that differs between machines and deployments.

    ``device`` is ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; budgets are bytes, 0 meaning "ask the machine".
    """

    weights_dir: Path = Path("weights")
    workspace_dir: Path = Path("workspace")
    tabs: tuple[str, ...] = PIPELINE_IDS
    device: str = "auto"
    zero_gpu: bool = False
    space_id: str = ""
    offline: bool = False
    read_only: bool = False
    hf_endpoint: str = "https://huggingface.co"
    device_budget_bytes: int = 0
    ram_budget_bytes: int = 0
    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    login: tuple[str, str] | None = None
    api_token: str = ""
    admin_token: str = ""
    allowed_dirs: tuple[Path, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    @property
    def runs_dir(self) -> Path:
        return self.workspace_dir / "runs"

    @property
    def measurements_dir(self) -> Path:
        return self.workspace_dir / "measurements"

    @property
    def temp_dir(self) -> Path:
        """Where the web framework keeps uploads and served copies, so that delete and sweep can reach them."""
        return self.workspace_dir / "gradio"

    @property
    def loopback(self) -> bool:
        """True when only this machine can reach the server."""
        return self.host in {"127.0.0.1", "localhost", "::1"} and not self.share and not self.space_id

    def with_(self, **changes: object) -> Settings:
        """A copy with some fields replaced."""
        return replace(self, **changes)

    @classmethod
    def from_env(cls, env: Mapping[str, str], **overrides: object) -> Settings:
        """Settings from an environment mapping; ``overrides`` (command line) win over it.

        Raises:
            InputError: a value cannot be read; the message names the variable.
        """
        values: dict[str, object] = {
            "weights_dir": Path(env.get("STUDIO_WEIGHTS", "weights")).expanduser().absolute(),
            "workspace_dir": Path(env.get("STUDIO_WORKSPACE", "workspace")).expanduser().absolute(),
            "tabs": _tabs(env.get("STUDIO_TABS", "")),
            "device": env.get("STUDIO_DEVICE", "auto").strip().lower() or "auto",
            "zero_gpu": _flag(env.get("SPACES_ZERO_GPU", "")),
            "space_id": env.get("SPACE_ID", ""),
            "offline": _flag(env.get("HF_HUB_OFFLINE", "")) or _flag(env.get("STUDIO_OFFLINE", "")),
            "read_only": _flag(env.get("STUDIO_READ_ONLY", "")),
            "hf_endpoint": env.get("HF_ENDPOINT", "").rstrip("/") or cls.hf_endpoint,
            "device_budget_bytes": _gib(env, "STUDIO_DEVICE_MEMORY_GB"),
            "ram_budget_bytes": _gib(env, "STUDIO_RAM_GB"),
            "host": env.get("GRADIO_SERVER_NAME", "").strip() or cls.host,
            "port": _number(env, "GRADIO_SERVER_PORT", cls.port),
            "login": _login(env.get("STUDIO_LOGIN", "")),
            "api_token": env.get("STUDIO_API_TOKEN", ""),
            "admin_token": env.get("STUDIO_ADMIN_TOKEN", ""),
            "allowed_dirs": tuple(
                Path(p).expanduser().absolute() for p in env.get("STUDIO_ALLOWED_DIRS", "").split(":") if p
            ),
            "extra": {k: v for k, v in env.items() if k.startswith("DA3_")},
            "limits": Limits(
                upload_bytes=_number(env, "STUDIO_UPLOAD_MB", Limits.upload_bytes // MIB) * MIB,
                queue_size=_number(env, "STUDIO_QUEUE_SIZE", Limits.queue_size),
                run_age_days=float(_number(env, "STUDIO_RUN_AGE_DAYS", int(Limits.run_age_days))),
                runs_bytes=_number(env, "STUDIO_RUNS_GB", Limits.runs_bytes // GIB) * GIB,
            ),
        }
        values.update({k: v for k, v in overrides.items() if v is not None})
        return cls(**values)


def _flag(text: str) -> bool:
    return text.strip().lower() in {"1", "true", "yes", "on"}


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError as error:
        raise InputError(f"{name} must be a whole number, not {text!r}") from error
    if value < 0:
        raise InputError(f"{name} must not be negative")
    return value


def _gib(env: Mapping[str, str], name: str) -> int:
    text = env.get(name, "").strip()
    if not text:
        return 0
    try:
        return int(float(text) * GIB)
    except ValueError as error:
        raise InputError(f"{name} must be a number of gigabytes, not {text!r}") from error


def _login(text: str) -> tuple[str, str] | None:
    if not text:
        return None
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise InputError("STUDIO_LOGIN must be user:password")
    return user, password


def _tabs(text: str) -> tuple[str, ...]:
    names = tuple(n.strip().lower() for n in text.split(",") if n.strip())
    unknown = [n for n in names if n not in PIPELINE_IDS]
    if unknown:
        raise InputError(f"STUDIO_TABS names {', '.join(unknown)}; known are {', '.join(PIPELINE_IDS)}")
    return names or PIPELINE_IDS
