"""The chat model stays loaded between answers, and only as long as it is the one that is meant."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from engine.problem import BadInput, Problem
from engine.worker import ChatJob, ChatMessage, Engine, perform


@pytest.fixture
def loads(monkeypatch, tmp_path):
    """The adapters that were loaded, in order; loading itself is another folder's test."""
    monkeypatch.setenv("FINETUI_STATE", str(tmp_path))
    loaded = []

    class Chatter:
        def __init__(self, config, session):
            loaded.append(config.adapter_name_or_path)

        def answer(self, messages, system, sampling, publish, control):
            if messages[-1].content == "too long":
                raise BadInput(Problem("The conversation is too long."))
            if messages[-1].content == "crash":
                raise ValueError("broken")
            return {"text": "yes"}

    module = ModuleType("engine.chat")
    module.Chatter = Chatter
    monkeypatch.setitem(sys.modules, "engine.chat", module)
    monkeypatch.setattr(perform, "load_libraries", lambda session, names: None)
    monkeypatch.setattr(perform, "_check", lambda job: None)
    return loaded


def test_when_the_model_is_loaded_anew(loads):
    engine = Engine()
    engine.start()

    def ask(text: str, adapter: str | None = None, temperature: float = 1.0) -> None:
        config = SimpleNamespace(adapter_name_or_path=adapter, temperature=temperature)
        run = engine.submit(ChatJob(config, (ChatMessage("user", text),)))
        assert engine.wait(run, 30)

    ask("hello")
    ask("hello again", temperature=0.5)
    ask("too long")
    ask("still there?")
    assert loads == [None] and engine.chat_loaded
    ask("with an adapter", "saves/run")
    assert loads == [None, "saves/run"]
    ask("crash", "saves/run")
    assert not engine.chat_loaded
    ask("once more", "saves/run")
    assert loads == [None, "saves/run", "saves/run"]
    engine.unload()
    ask("after unloading", "saves/run")
    assert len(loads) == 4
    assert engine.shutdown(deadline=30) and not engine.chat_loaded
