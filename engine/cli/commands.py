"""The table of commands, and the one place where their errors become words and exit codes."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from engine import faults
from engine.cli import (
    chat,
    datasets,
    doctor,
    evaluate,
    export,
    models,
    runs,
    settings,
    templates,
    train,
    version,
)
from engine.cli.help_pages import without_types
from engine.cli.output import output
from engine.paths import program_log
from engine.problem import BadSettings, FinetuiError, Stopped
from engine.worker.quiet import quiet_libraries

DONE, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130


def application() -> typer.Typer:
    """All commands; also what a reference page of them can be made from."""
    app = typer.Typer(
        name="finetui",
        help="Fine-tune language models from a terminal. Without a command the screen opens.",
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def _all(
        debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    ) -> None:
        """Fine-tune language models from a terminal. Without a command the screen opens."""

    app.command("train")(train.train)
    app.command("chat")(chat.chat)
    app.command("evaluate")(evaluate.evaluate)
    app.command("export")(export.export)
    app.add_typer(runs.app, name="runs")
    app.add_typer(models.app, name="models")
    app.add_typer(datasets.app, name="datasets")
    app.add_typer(templates.app, name="templates")
    app.command("doctor")(doctor.doctor)
    app.command("settings")(settings.settings)
    app.command("version")(version.version)
    return app


def run(arguments: list[str]) -> int:
    """Run one command line and tell what went wrong, if anything did."""
    # Taken wherever it stands, as people add it to the end of the line that failed.
    debug = "--debug" in arguments
    arguments = [word for word in arguments if word != "--debug"]
    output()  # Before the parser writes a page of help.
    quiet_libraries(program_log())
    command = without_types(typer.main.get_command(application()))
    try:
        code = command.main(arguments, prog_name="finetui", standalone_mode=False)
        output().flush()
        return code if isinstance(code, int) else DONE
    except BrokenPipeError:
        return reader_left()
    except SystemExit as left:
        # The parser library's way out where the reader has left: with code 1, as if it had failed.
        if isinstance(left.__context__, BrokenPipeError):
            return reader_left()
        raise
    except (Stopped, KeyboardInterrupt):
        return STOPPED
    except Exception as error:
        return _told(error, debug, arguments)


def reader_left() -> int:
    """The reader of the output (head, less) has seen enough: the interpreter must not complain of
    it at its end, and nothing has failed. Returns the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    return DONE


def _told(error: Exception, debug: bool, arguments: list[str]) -> int:
    if type(error).__name__ == "Abort":
        return STOPPED
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        return _usage(error, arguments)
    if debug:
        output().tell("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, BadSettings):
        for problem in error.problems:
            output().problem(problem)
        return BAD_INPUT
    problem = faults.explain(error, program_log())
    if not isinstance(error, FinetuiError):
        _log_traceback(error)
    output().problem(problem)
    return BAD_INPUT if faults.is_bad_input(error) else FAILED


def _usage(error: Exception, arguments: list[str]) -> int:
    """A command line that can't be understood: the parser's own words, and where help is."""
    said = str(error.format_message())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    if not said:
        # Typer's way of showing help where a command is missing.
        output().tell(context.get_help() if context is not None else "")
        return BAD_INPUT
    # An option without its value is told of without the command that it belongs to.
    known = typer.main.get_command(application()).commands  # type: ignore[attr-defined]
    first = next((word for word in arguments[:1] if word in known), "")
    path = context.command_path if context is not None else f"finetui {first}".rstrip()
    end = "" if said.endswith((".", "?")) else "."
    output().tell(f"{said}{end} Try: {path} --help")
    return BAD_INPUT


def _log_traceback(error: Exception) -> None:
    try:
        with program_log().open("a", encoding="utf-8") as log:
            log.write("".join(traceback.format_exception(error)) + "\n")
    except OSError:
        output().tell("".join(traceback.format_exception(error)).rstrip())
