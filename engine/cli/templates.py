"""`finetui templates`: the named chat templates, where their texts come from, how they read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from engine.cli.help_pages import Commands
from engine.cli.output import output, visible

if TYPE_CHECKING:
    from engine.datasets.templates import FoundTemplate, NamedTemplate

app = typer.Typer(
    cls=Commands,
    help="Chat templates; without a command, a list of their names.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def templates(context: typer.Context) -> int:
    """List the names that `template` may hold, and where each text comes from."""
    if context.invoked_subcommand is None:
        return listed()
    return 0


@app.command("list")
def listed() -> int:
    """List the names, as `finetui templates` alone does."""
    from engine.datasets.templates import named_templates
    from engine.datasets.templates.package import at_hand

    out = output()
    out.table(
        ("name", "reads", "thoughts", "text from"),
        (
            (
                known.name,
                " ".join(known.reads),
                "yes" if known.thinking else "",
                ", ".join(known.sources),
            )
            for known in named_templates().values()
        ),
    )
    if not at_hand():
        out.tell("The texts of llamafactory are fetched through pip when one is first needed.")
    return 0


@app.command("show")
def show(
    name: str = typer.Argument(..., help="A name of the list."),
    model: str = typer.Option("", "--model", help="Beside this model's own template and tokens."),
) -> int:
    """Print a template's text and facts; with a model, which text a run would use and why."""
    from engine.config.chat_templates import known, meant
    from engine.datasets.templates import NotHere, find_template, named_templates
    from engine.problem import BadInput, Problem

    out = output()
    if not known(name):
        raise BadInput(
            Problem(
                f"The template {name!r} is not known.",
                "templates",
                f"{meant(name)}finetui templates lists the names.",
            )
        )
    out.divert()
    _facts(named_templates()[name])
    found: FoundTemplate | None = None
    if not named_templates()[name].ours:
        try:
            found = find_template(name)
            _text(found)
        except NotHere as reason:
            out.say(f"  its text is not here: {visible(str(reason))}")
    return _beside(name, model) if model else 0


def _facts(named: NamedTemplate) -> None:
    out = output()
    out.say(visible(named.name))
    facts = {
        "reads": ", ".join(named.reads),
        "thoughts": "its models write thoughts" if named.thinking else "none",
        "text from": ", ".join(named.sources),
    }
    if named.hub:
        facts["hub id from"] = named.hub_from
    for key, value in facts.items():
        out.say(f"  {key:<16}{visible(value)}")


def _text(found: FoundTemplate) -> None:
    out = output()
    record = found.record
    out.say(f"  {'read from':<16}{visible(found.origin)}")
    if record is not None:
        own = record.tools or record.tool_format == "qwen"
        facts = {
            "system text": record.default_system or "none of its own",
            "system stands": "in the first user turn" if record.fused else "before the first turn",
            "stop words": " ".join(record.stop_words) or "the tokenizer's end of text",
            "answers closed": "the last one of a row" if record.efficient_eos else "every one",
            "tools": "its own way"
            if own
            else f"the qwen way (its own, {record.tool_format}, is code, which is not read)",
        }
        if record.thinking:
            facts["empty thought"] = record.empty_thought
        for key, value in facts.items():
            out.say(f"  {key:<16}{visible(value)}")
    out.say("\na conversation")
    _print(_conversation(found.source))
    out.say("\nas a Jinja chat template")
    out.say(visible(found.source, lines=True))


def _conversation(source: str) -> str:
    from engine.datasets.template import render

    talk = [
        {"role": "system", "content": "SYSTEM"},
        {"role": "user", "content": "QUESTION"},
        {"role": "assistant", "content": "ANSWER"},
        {"role": "user", "content": "QUESTION"},
    ]
    marks = {"bos_token": "[begin of text]", "eos_token": "[end of text]"}
    return render(source, talk, marks, None, True)


def _print(text: str) -> None:
    for line in text.split("\n"):
        output().say(f"  {visible(line)}")


def _beside(name: str, model: str) -> int:
    from engine.config import defaults_for_form, with_value
    from engine.datasets import Encoder
    from engine.models.locate import resolve

    out = output()
    config = with_value(defaults_for_form(), "model_name_or_path", model)
    folder = resolve(model, config)
    own = Encoder(folder.path, config)
    named = Encoder(folder.path, with_value(config, "template", name))
    out.say(f"\nwith {visible(folder.name)}")
    for note in named.notes:
        out.say(f"  {visible(note)}")
    talk = [("user", "QUESTION"), ("assistant", "ANSWER"), ("user", "QUESTION")]
    turns = [{"role": role, "content": content} for role, content in talk]
    for title, encoder in (("the model's own", own), (f"template {name}", named)):
        out.say(f"\n{title}, from {visible(encoder.chat.origin)}")
        _print(encoder.render_prompt(turns))
    return 0
