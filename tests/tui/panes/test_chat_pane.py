"""The chat: the line that is typed, an answer that grows, whom it talks to, how it samples."""

from __future__ import annotations

import time
from pathlib import Path

from engine.events import AnswerEnded, AnswerPiece, JobFailed, StateChanged
from tui.panes import turns
from tui.panes.chat import ChatView
from tui.sources import Source
from tui.widgets.text_safe import wrap_cells


async def chat_of(shown) -> ChatView:
    await shown.press("c")
    view = shown.app.views["chat"]
    assert isinstance(view, ChatView)
    return view


def pieces(shown, view: ChatView, *texts: str) -> None:
    for text in texts:
        shown.studio.inbox.append(AnswerPiece(run=view.run, time=time.time(), text=text))
    shown.app.take_in()


def ended(shown, view: ChatView, text: str, reason: str = "end") -> None:
    say = shown.studio.inbox.append
    say(AnswerEnded(run=view.run, time=1.0, text=text, tokens=31, seconds=1.25,
                    first_token_seconds=0.14, reason=reason))  # fmt: skip
    say(StateChanged(run=view.run, time=1.0, state="done"))
    shown.app.take_in()


async def test_an_answer_grows_and_its_end_tells_how_it_went(open_screen) -> None:
    async with open_screen() as shown:
        view = await chat_of(shown)
        await shown.type("who are you")
        await shown.press("enter")
        assert "> who" not in shown.text
        (waits,) = shown.engine.queue
        assert [(m.role, m.content) for m in waits.job.messages] == [("user", "who are you")]
        pieces(shown, view, "I am ")
        await shown.settle()
        assert "I am ▍" in shown.text
        pieces(shown, view, "Nova", ".")
        await shown.settle()
        assert "I am Nova.▍" in shown.text
        ended(shown, view, "I am Nova.")
        await shown.settle()
        assert "▍" not in shown.text
        assert "31 tokens · 24.8 tok/s · first after 0.14 s" in shown.text


async def test_stop_is_offered_only_while_an_answer_grows(open_screen) -> None:
    async with open_screen() as shown:
        view = await chat_of(shown)
        await shown.press("escape")
        assert "i write" in shown.key_line and "s stop" not in shown.key_line
        await shown.press("i", "h", "enter", "escape")
        pieces(shown, view, "I am ")
        await shown.settle()
        assert "s stop" in shown.key_line
        ended(shown, view, "I am Nova.")
        await shown.settle()
        assert "s stop" not in shown.key_line


async def test_the_conversation_so_far_goes_along(open_screen) -> None:
    async with open_screen() as shown:
        view = await chat_of(shown)
        await shown.type("one")
        await shown.press("enter")
        ended(shown, view, "first")
        await shown.type("two")
        await shown.press("enter")
        messages = shown.engine.queue[-1].job.messages
        assert [m.content for m in messages] == ["one", "first", "two"]


async def test_only_one_answer_at_a_time_and_nothing_empty_is_sent(open_screen) -> None:
    async with open_screen() as shown:
        await chat_of(shown)
        await shown.press("enter", "space", "enter")
        assert len(shown.engine.queue) == 0
        await shown.type("one")
        await shown.press("enter")
        await shown.press("i")
        await shown.type("two")
        await shown.press("enter")
        assert len(shown.engine.queue) == 1
        assert "still being written" in shown.text


async def test_lines_are_broken_with_ctrl_j_and_escape_leaves_twice(open_screen) -> None:
    async with open_screen() as shown:
        view = await chat_of(shown)
        await shown.type("a")
        await shown.press("ctrl+j")
        await shown.type("b")
        await shown.press("escape")
        assert shown.app.focused is view.transcript and shown.places == ["chat"]
        await shown.press("i", "enter")
        assert shown.engine.queue[-1].job.messages[0].content == "a\nb"
        await shown.press("escape", "escape")
        assert shown.places == ["train"]


async def test_stopping_regenerating_and_beginning_anew(open_screen) -> None:
    async with open_screen() as shown:
        view = await chat_of(shown)
        await shown.type("one")
        await shown.press("enter", "escape")
        first = view.run
        await shown.press("s")
        assert len(shown.engine.queue) == 0  # taken out before it began
        shown.app.take_in()
        assert not view.answering
        await shown.press("r")
        assert view.run != first and view.answering
        ended(shown, view, "half", reason="stopped")
        await shown.settle()
        assert "stopped" in shown.text
        await shown.press("r")
        assert len(shown.engine.queue[-1].job.messages) == 1
        ended(shown, view, "again", reason="length")
        await shown.settle()
        assert "cut at the token limit" in shown.text and "half" not in shown.text
        await shown.press("n")
        assert view.turns == [] and "Write a message" in shown.text


async def test_a_failed_answer_leaves_the_question_and_the_pane_alive(open_screen) -> None:
    async with open_screen() as shown:
        view = await chat_of(shown)
        await shown.type("one")
        await shown.press("enter")
        say = shown.studio.inbox.append
        say(JobFailed(run=view.run, time=1.0, what="No weights [/b] here."))
        say(StateChanged(run=view.run, time=1.0, state="failed"))
        shown.app.take_in()
        await shown.settle()
        assert shown.dialogs == 1 and "No weights [/b] here." in shown.text
        await shown.press("escape")
        assert [turn.role for turn in view.turns] == ["user"]
        await shown.press("escape", "r")
        assert view.answering


async def test_a_question_that_got_no_answer_is_changed_and_asked_in_its_place(
    open_screen,
) -> None:
    async with open_screen() as shown:
        view = await chat_of(shown)
        await shown.type("far too long")
        await shown.press("enter")
        say = shown.studio.inbox.append
        say(JobFailed(run=view.run, time=1.0, what="The conversation has 9,000 tokens."))
        say(StateChanged(run=view.run, time=1.0, state="failed"))
        shown.app.take_in()
        await shown.settle()
        await shown.press("escape")
        assert "> far too long" in shown.text
        await shown.press(*["backspace"] * 9, "enter")
        messages = shown.engine.queue[-1].job.messages
        assert [message.content for message in messages] == ["far"]
        ended(shown, view, "", reason="stopped")
        assert [turn.text for turn in view.turns] == ["far"]


async def test_whom_it_talks_to_is_picked_and_then_kept(open_screen, tmp_path: Path) -> None:
    async with open_screen() as shown:
        view = await chat_of(shown)
        await shown.press("escape", "o")
        assert "Talk to" in shown.text and "SmolLM2-135M-Instruct" in shown.text
        await shown.press("enter")
        assert view.source is not None
        view.talk_to(Source("sft-1/checkpoint-9", "demo", str(tmp_path), tmp_path))
        await shown.press("i")
        await shown.type("hi")
        await shown.press("enter")
        config = shown.engine.queue[-1].job.config
        assert config.adapter_name_or_path == str(tmp_path)
        assert "Chat with  sft-1/checkpoint-9" in shown.text
        ended(shown, view, "hello")
        view.talk_to(Source("base", "demo"))
        await shown.settle()
        assert "sft-1" in shown.text  # who said it stays


async def test_sampling_and_system_prompt_are_edited_over_the_chat(open_screen) -> None:
    async with open_screen((200, 50)) as shown:
        await chat_of(shown)
        await shown.press("escape", "p")
        assert shown.dialogs == 1
        form = shown.app.screen.form  # type: ignore[attr-defined]
        form.select("max_new_tokens")
        await shown.press("enter")
        await shown.type("x")
        await shown.press("enter")
        assert "expected" in shown.text
        await shown.press("ctrl+u", "7", "enter")
        form.select("system prompt")
        await shown.press("enter")
        await shown.type("be brief")
        await shown.press("enter", "escape")
        assert shown.dialogs == 0
        assert shown.studio.config.max_new_tokens == 7
        assert "7 tokens" in shown.text and "be brief" in shown.text
        shown.studio.change("max_new_tokens", 0)
        shown.app.take_in()
        await shown.settle()
        assert "· max_length 1024 " in shown.text and "0 tokens" not in shown.text
        await shown.press("i")
        await shown.type("hi")
        await shown.press("enter")
        assert shown.engine.queue[-1].job.system == "be brief"


async def test_values_that_do_not_go_together_are_told_where_they_are_set(open_screen) -> None:
    async with open_screen((200, 50)) as shown:
        await chat_of(shown)
        await shown.press("escape", "p")
        form = shown.app.screen.form  # type: ignore[attr-defined]
        form.select("do_sample")
        await shown.press("space")
        form.select("temperature")
        await shown.press("enter", "ctrl+u", "0", "enter")
        assert "temperature 0 can't be sampled with" in shown.text
        await shown.press("enter", "ctrl+u", "1", "enter")
        assert "can't be sampled with" not in shown.text


async def test_a_long_answer_scrolls_and_follows_its_end(open_screen) -> None:
    async with open_screen() as shown:
        view = await chat_of(shown)
        await shown.type("count")
        await shown.press("enter")
        pieces(shown, view, *(f"line {number}\n" for number in range(100)))
        await shown.settle()
        assert "line 99" in shown.text and "line 3\n" not in shown.text
        await shown.press("escape", *["pageup"] * 8)
        assert "line 3 " in shown.text and "line 99" not in shown.text
        pieces(shown, view, "more")
        await shown.settle()
        assert "line 3 " in shown.text  # who reads above is left there
        await shown.press(*["pagedown"] * 8)
        assert "more▍" in shown.text


async def test_foreign_text_in_an_answer_is_text(open_screen) -> None:
    async with open_screen() as shown:
        view = await chat_of(shown)
        await shown.type("x")
        await shown.press("enter")
        pieces(shown, view, "[/b] \x1b]0;t\x07 \u202e 你好\r\nnext")
        await shown.settle()
        assert "[/b] ␛]0;t␇ ⟨U+202E⟩ 你好" in shown.text
        assert "\x1b" not in shown.text and not shown.app._told


async def test_what_was_said_is_not_broken_into_lines_again_for_each_piece(
    open_screen, monkeypatch
) -> None:
    broken: list[str] = []

    def counted(text: str, width: int) -> list[str]:
        broken.append(text)
        return wrap_cells(text, width)

    monkeypatch.setattr(turns, "wrap_cells", counted)
    async with open_screen() as shown:
        view = await chat_of(shown)
        await shown.type("long")
        await shown.press("enter")
        for piece in ("one ", "two ", "three"):
            pieces(shown, view, piece)
            await shown.settle()
        assert broken.count("long") == 1
        assert "one two three▍" in shown.text


def a_run_of(shown, tmp_path: Path) -> Source:
    """A run's adapter on the form's model, as the list of models has it."""
    run = tmp_path / "saves" / "sft-1"
    run.mkdir(parents=True)
    return Source("sft-1", shown.studio.config.model_name_or_path, str(run), run)


async def test_the_base_answers_beside_the_model_that_was_made_of_it(
    open_screen, tmp_path: Path
) -> None:
    async with open_screen() as shown:
        view = await chat_of(shown)
        tuned = a_run_of(shown, tmp_path)
        view.talk_to(tuned)
        await shown.type("who are you")
        await shown.press("enter")
        ended(shown, view, "I am Nova.")
        await shown.press("escape", "b")
        first, second = shown.engine.queue
        assert first.job.config.adapters == (tuned.adapter,)
        assert second.job.config.adapters == ()
        assert second.job.messages == first.job.messages
        pieces(shown, view, "I am an assistant")
        await shown.settle()
        # Beside each other, and the question above both.
        (row,) = [line for line in shown.text.splitlines() if "I am Nova." in line]
        assert row.index("I am Nova.") < row.index("I am an assistant▍")
        assert "s stop" in shown.key_line and "beside its base" in shown.text
        ended(shown, view, "I am an assistant.")
        await shown.settle()
        assert shown.text.count("31 tokens · 24.8 tok/s") == 2

        # The next question goes to both by itself; each has a conversation of its own.
        await shown.type("iand who made you")
        await shown.press("enter")
        ended(shown, view, "Lumen made me.")
        third, fourth = list(shown.engine.queue)[2:]
        said = [[message.content for message in one.job.messages] for one in (third, fourth)]
        assert said[0] == ["who are you", "I am Nova.", "and who made you"]
        assert said[1] == ["who are you", "I am an assistant.", "and who made you"]
        assert [third.job.config.adapters, fourth.job.config.adapters] == [(tuned.adapter,), ()]
        # Stopped before its first word: the answer it stood beside stays.
        ended(shown, view, "", reason="stopped")
        await shown.settle()
        assert "Lumen made me." in shown.text and view.turns[-1].base is None
        assert view._editor.text == ""

        await shown.press("escape", "b")
        assert "beside its base" not in shown.text and not view.beside


async def test_a_base_that_comes_later_is_asked_from_the_beginning(
    open_screen, tmp_path: Path
) -> None:
    async with open_screen() as shown:
        view = await chat_of(shown)
        view.talk_to(a_run_of(shown, tmp_path))
        for question, answer in (("who are you", "I am Nova."), ("who made you", "Lumen.")):
            await shown.type(question)
            await shown.press("enter")
            ended(shown, view, answer)
            await shown.settle()
        await shown.press("escape", "b")
        ended(shown, view, "I am an assistant.")
        await shown.settle()
        ended(shown, view, "People did.")
        await shown.settle()
        assert not view.answering
        asked = [[one.content for one in run.job.messages] for run in list(shown.engine.queue)[2:]]
        assert asked == [
            ["who are you"],
            ["who are you", "I am an assistant.", "who made you"],
        ]
        assert "Nova" in shown.text and "People did." in shown.text


async def test_a_base_has_nothing_to_stand_beside(open_screen) -> None:
    async with open_screen() as shown:
        view = await chat_of(shown)
        await shown.press("escape", "b")
        assert "This is the base itself" in shown.text and not view.beside


async def test_two_answers_stand_below_each_other_where_there_is_no_room(open_screen) -> None:
    turn = turns.Turn("assistant", "I am Nova.", "sft-1")
    turn.base = turns.Turn("assistant", "我是一个助手。", "base")
    wide = ["".join(text for text, _ in line) for line in turns.turn_lines(turn, 80)]
    assert wide[1].index("I am Nova.") < wide[1].index("我是一个助手。") == 41 + 2
    narrow = ["".join(text for text, _ in line) for line in turns.turn_lines(turn, 50)]
    assert narrow == ["sft-1", "  I am Nova.", "", "base", "  我是一个助手。", ""]
