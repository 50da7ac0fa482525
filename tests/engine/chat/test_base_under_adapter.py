"""The base beside its adapter: the same weights, the adapter switched off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.worker.jobs import ChatJob, ChatMessage
from tests.engine.chat.test_answers import ASK, generated, plain_model


def test_the_base_under_an_adapter_answers_as_the_base_alone(
    model_folder: Path, adapter_folder: Path, make_config: Any, make_session: Any
) -> None:
    from engine.chat import Chatter

    session = make_session()[0]
    tuned = make_config(adapter_name_or_path=str(adapter_folder))
    chatter = Chatter(tuned, session)
    base = chatter.base(make_config(), session)
    assert base is not None and base.loaded.model is chatter.loaded.model
    prompt = chatter._prompt(ASK, None)
    plain = generated(plain_model(model_folder), prompt, do_sample=False, max_new_tokens=40)
    adapted = generated(
        plain_model(model_folder, adapter_folder), prompt, do_sample=False, max_new_tokens=40
    )
    assert plain != adapted
    for _ in range(2):  # each has a cache of its own
        assert list(chatter.stream(ASK, None, tuned)) == adapted
        assert list(base.stream(ASK, None, make_config())) == plain


def test_a_base_that_its_adapter_changed_is_not_taken_for_it(
    adapter_folder: Path, tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    import shutil

    from engine.chat import Chatter
    from engine.models.blocks import FILE, KEY

    session = make_session()[0]
    adapter = Path(shutil.copytree(adapter_folder, tmp_path / "adapter"))
    chatter = Chatter(make_config(adapter_name_or_path=str(adapter)), session)
    assert chatter.base(make_config(), session) is not None
    (adapter / FILE).write_text(json.dumps({KEY: [1]}))
    assert chatter.base(make_config(), session) is None


def test_the_engine_keeps_both(adapter_folder: Path, make_config: Any, make_session: Any) -> None:
    from engine.worker.perform import Kept

    session, kept = make_session()[0], Kept()
    asked = (ChatMessage("user", "Who are you?"),)
    tuned = ChatJob(make_config(adapter_name_or_path=str(adapter_folder)), asked)
    base = ChatJob(make_config(), asked)
    first = kept.chatter(tuned, session)
    under = kept.chatter(base, session)
    assert under is not first and under.loaded.model is first.loaded.model
    assert kept.chatter(tuned, session) is first and kept.chatter(base, session) is under
    # Another precision is another model.
    other = ChatJob(make_config(infer_dtype="bfloat16"), asked)
    assert kept.chatter(other, session).loaded.model is not first.loaded.model
