"""Copying the pictures of a video bit for bit into an MP4, with other sound or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import av
from av.error import FFmpegError

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.media.decode import open_video
from pipelines.media.track import AudioTrack


def copy_pictures(
    video: Path,
    target: Path,
    limits: Limits,
    audio: Path | None,
    audio_start: float = 0.0,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes ``target``, index in front: the pictures of ``video``, the sound of ``audio`` from ``audio_start`` on.

    ``metadata`` are tags of the file.

    Raises:
        InputError, LimitExceeded: one of the files cannot be read or its pictures do not fit into MP4.
    """
    with (
        open_video(video, limits) as source,
        av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as output,
    ):
        output.metadata.update(metadata or {})
        try:
            stream = output.add_stream_from_template(source.stream)
        except (FFmpegError, ValueError) as error:
            raise InputError(f"The pictures of {Path(video).name} do not fit into MP4; convert it first") from error
        track = AudioTrack(output, audio, limits, audio_start) if audio is not None else None
        try:
            end = 0.0
            for packet in source.packets():
                end = max(end, source.seconds(packet.pts + (packet.duration or 0)))
                packet.pts -= source.shift
                packet.dts -= source.shift
                when = float(packet.dts * source.base)
                packet.stream = stream
                output.mux(packet)
                if track is not None:
                    track.advance(when)
            if track is not None:
                track.finish(end)
        finally:
            if track is not None:
                track.close()
