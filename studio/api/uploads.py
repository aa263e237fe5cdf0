"""Multipart forms taken in as they arrive: files go straight to disk, and a limit ends the upload where it is hit."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import python_multipart
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from models.runtime.errors import InputError, LimitExceeded
from models.runtime.settings import Settings
from studio import traces
from studio.runs import safe_name

_MAX_FIELDS = 500
_MAX_VALUE = 64 * 1024
_MAX_HEADERS = 8 * 1024


@dataclass
class Form:
    """A form: text values and file paths by field name, in the order they came."""

    values: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[Path]] = field(default_factory=dict)


@asynccontextmanager
async def received(request: Request, settings: Settings, max_files: int) -> AsyncIterator[Form]:
    """The request's form; its files are gone afterwards, unless someone moved them away.

    Raises:
        InputError: no multipart form, or a broken one.
        LimitExceeded: more bytes than the upload limit (told before or while they arrive), or more than ``max_files``.
    """
    limit = settings.limits.upload_bytes
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not parameters.get(b"boundary"):
        raise InputError("Send a multipart/form-data form with the files in it")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    folder = settings.workspace_dir / "uploads" / secrets.token_hex(16)
    folder.mkdir(parents=True)
    receiver = _Receiver(folder, max_files)
    try:
        parser = python_multipart.MultipartParser(parameters[b"boundary"], receiver.callbacks())
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
            if total > limit:
                raise _too_large(limit)
            parser.write(chunk)
        parser.finalize()
        receiver.check_complete()
        yield receiver.form
    except FormParserError as error:
        raise InputError("The form is broken: its parts cannot be told apart") from error
    finally:
        receiver.close()
        traces.remove(folder)


def _too_large(limit: int) -> LimitExceeded:
    return LimitExceeded(f"The upload is larger than {limit / 2**20:.0f} MB; give fewer or smaller files")


class _Receiver:
    """Takes the parser's reports: opens, fills and closes one part after the other."""

    def __init__(self, folder: Path, max_files: int) -> None:
        self.form = Form()
        self._folder = folder
        self._max_files = max_files
        self._parts = 0
        self._files = 0
        self._header, self._content = bytearray(), bytearray()
        self._disposition = b""
        self._name = ""
        self._value: bytearray | None = None
        self._file: BinaryIO | None = None
        self._ended = False

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._open,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def check_complete(self) -> None:
        if not self._ended:
            raise InputError("The upload broke off before its end; send it again")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_FIELDS + self._max_files:
            raise LimitExceeded("The form has too many fields")
        self._disposition = b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._check_headers()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]
        self._check_headers()

    def _check_headers(self) -> None:
        if len(self._header) + len(self._content) > _MAX_HEADERS:
            raise InputError("The form is broken: a part's header is far too long")

    def _header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._content)
        self._header.clear()
        self._content.clear()

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if not self._name:
            raise InputError("The form is broken: a part has no name")
        filename = options.get(b"filename")
        if filename is None:
            self._value = bytearray()
            return
        self._files += 1
        if self._files > self._max_files:
            raise LimitExceeded(f"At most {self._max_files} files are taken at once")
        place = self._folder / str(self._files)  # one folder each, so that equal names can live side by side
        place.mkdir()
        path = place / safe_name(filename.decode("utf-8", "replace"))
        self._file = path.open("wb")
        self.form.files.setdefault(self._name, []).append(path)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
        elif self._value is not None:
            self._value += data[start:end]
            if len(self._value) > _MAX_VALUE:
                raise LimitExceeded(f"The value of {self._name!r:.60} is too long")

    def _part_end(self) -> None:
        if self._value is not None:
            self.form.values.setdefault(self._name, []).append(self._value.decode("utf-8", "replace"))
        self._value = None
        self.close()

    def _end(self) -> None:
        self._ended = True
