"""The command line: ``python -m studio <command>``. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from models.runtime.errors import StudioError
from models.runtime.settings import Settings
from pipelines import registry
from studio.cli import batch, bench, runs, serve, train, weights
from studio.cli.face import translate
from studio.cli.pipeline_command import add_pipeline, add_stub

PROGRAM = "python -m studio"
INTERRUPTED = 130
_UsageError = typer.BadParameter.__mro__[1]  # typer shows its parser's errors by this family alone


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs one command and ends the process: 0 done, 1 failed, 2 bad input or usage, 130 stopped."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code; every error is one line on stderr."""
    logging.basicConfig(level=os.environ.get("STUDIO_LOG_LEVEL", "WARNING").upper(), format="%(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        arguments = translate(arguments)
        command = typer.main.get_command(build_app(arguments))
        code = command.main(args=arguments, prog_name=PROGRAM, standalone_mode=False)
        if code == INTERRUPTED:  # how typer passes Ctrl-C on
            return _refuse("Stopped.", INTERRUPTED)
        return code if isinstance(code, int) else 0
    except StudioError as error:
        return _refuse(error.message, error.exit_code)
    except _UsageError as error:
        return _refuse(error.format_message(), 2)
    except (KeyboardInterrupt, typer.Abort):
        return _refuse("Stopped.", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def build_app(arguments: list[str]) -> typer.Typer:
    """The commands; only a pipeline that is asked for is imported to learn its options."""
    app = typer.Typer(
        help="Likeness Studio: photos, videos, voices and drawings into faces, bodies, talking heads and scenes.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    asked = next((a for a in arguments if not a.startswith("-")), "")
    for pipeline_id in registry.PIPELINES:
        if pipeline_id == asked:
            add_pipeline(app, registry.get(pipeline_id))
        else:
            add_stub(app, pipeline_id)
    batch.add(app, arguments)
    app.add_typer(runs.app, name="runs")
    app.add_typer(weights.app, name="weights")
    train.add(app, asked)
    serve.add(app)
    bench.add(app)

    @app.command()
    def doctor(
        device: Annotated[str | None, typer.Option(help="Check this device instead of STUDIO_DEVICE.")] = None,
    ) -> None:
        """Check this machine: device, programs, memory, disk, weights, and what each tab can do with them."""
        from studio.doctor import examine

        broken = False
        for check in examine(Settings.from_env(os.environ, device=device)):
            print(f"{check.mark} {check.name}: {check.text}", flush=True)
            broken |= check.state == "broken"
        raise typer.Exit(1 if broken else 0)

    return app


def _refuse(message: str, code: int) -> int:
    print(f"{PROGRAM}: {' '.join(message.split())}", file=sys.stderr)
    return code


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a command the way Ctrl-C does, so that it can tidy up."""
    del number, frame
    raise KeyboardInterrupt
