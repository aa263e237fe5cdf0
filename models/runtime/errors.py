"""The studio's typed errors: every message says what is wrong and what to do about it.

Surfaces translate them without knowing the cause: the browser shows the message, the command line
prints it as one line, REST answers ``{"error": message}`` with ``http_status``.
"""

from __future__ import annotations


class StudioError(Exception):
    """Base of everything a user may be told. ``http_status`` is the fitting REST status."""

    http_status = 500
    exit_code = 1

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else type(self).__name__


class InputError(StudioError):
    """The input or an option cannot be used; the message says why and what would work."""

    http_status = 400
    exit_code = 2


class LimitExceeded(InputError):
    """The input is larger, longer or more numerous than the limits in the settings allow."""

    http_status = 413


class WeightsMissing(StudioError):
    """An engine asked for by name lacks its weights; the message names the file and how to get it."""

    http_status = 409
    exit_code = 2


class WeightsInvalid(InputError):
    """A checkpoint is not what it says: a missing, extra or misshapen key, a truncated or hostile file."""

    http_status = 422


class EngineUnavailable(StudioError):
    """The engine asked for cannot run on this machine (device, package or platform)."""

    http_status = 409
    exit_code = 2


class OutOfMemory(StudioError):
    """The device had too little memory even for the smallest chunk."""

    http_status = 507


class Cancelled(StudioError):
    """The job was stopped by its user."""

    http_status = 409
    exit_code = 130


class NotFound(StudioError):
    """No such run, job, file or weights entry."""

    http_status = 404
    exit_code = 2


class Forbidden(StudioError):
    """The caller may not do this here."""

    http_status = 403
    exit_code = 2


class QueueFull(StudioError):
    """Too many jobs are waiting; try again shortly."""

    http_status = 503
