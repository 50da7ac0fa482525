"""Answers token by token: the same as `generate`, stoppable, whole characters, the cache kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.events import AnswerEnded, AnswerPiece, LogLine, Progress
from engine.problem import BadInput
from engine.worker.jobs import ChatMessage

ASK = (ChatMessage("user", "Where is the sun?"),)


def plain_model(folder: Path, adapter: Path | None = None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter))
    return model.eval()


def generated(model: Any, prompt: list[int], **settings: Any) -> list[int]:
    import torch

    ids = torch.tensor([prompt])
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **settings
    )
    return out[0, len(prompt) :].tolist()


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, engine.chat; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_equals_generate(
    model_folder: Path, make_config: Any, make_session: Any, cache: bool, penalty: float
) -> None:
    from engine.chat import Chatter

    config = make_config(use_kv_cache=cache, repetition_penalty=penalty)
    chatter = Chatter(config, make_session()[0])
    prompt = chatter._prompt(ASK, "Be short.")
    mine = list(chatter.stream(ASK, "Be short.", config))
    theirs = generated(
        plain_model(model_folder),
        prompt,
        do_sample=False,
        max_new_tokens=40,
        repetition_penalty=penalty,
    )
    assert mine == theirs and len(set(mine)) > 3


def test_an_adapter_answers_as_peft_has_it(
    model_folder: Path, adapter_folder: Path, make_config: Any, make_session: Any
) -> None:
    from engine.chat import Chatter

    config = make_config(adapter_name_or_path=str(adapter_folder))
    chatter = Chatter(config, make_session()[0])
    prompt = chatter._prompt(ASK, None)
    mine = list(chatter.stream(ASK, None, config))
    with_adapter = plain_model(model_folder, adapter_folder)
    assert mine == generated(with_adapter, prompt, do_sample=False, max_new_tokens=40)
    assert mine != generated(plain_model(model_folder), prompt, do_sample=False, max_new_tokens=40)


def test_a_whole_checkpoint_given_as_adapter_takes_the_models_place(
    model_folder: Path, tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    import torch
    from transformers import AutoTokenizer

    from engine.chat import Chatter

    trained = plain_model(model_folder)
    with torch.no_grad():
        trained.lm_head.weight.mul_(-1)
    folder = tmp_path / "checkpoint-3"
    trained.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
    config = make_config(adapter_name_or_path=str(folder))
    chatter = Chatter(config, make_session()[0])
    prompt = chatter._prompt(ASK, None)
    assert list(chatter.stream(ASK, None, config)) == generated(
        trained, prompt, do_sample=False, max_new_tokens=40
    )


def test_a_run_that_did_not_end_is_answered_by_its_newest_checkpoint(
    adapter_folder: Path, tmp_path: Path, make_config: Any, make_session: Any
) -> None:
    import shutil

    from engine.chat import Chatter
    from engine.runs.checkpoints import COMPLETE_MARK

    run = tmp_path / "run"
    shutil.copytree(adapter_folder, run / "checkpoint-7")
    files = {p.name: p.stat().st_size for p in (run / "checkpoint-7").iterdir() if p.is_file()}
    (run / "checkpoint-7" / COMPLETE_MARK).write_text(
        json.dumps({"files": files, "step": 7, "resumable": False})
    )
    session, heard = make_session()
    chatter = Chatter(make_config(adapter_name_or_path=str(run)), session)
    assert chatter.loaded.sources.adapters == (run / "checkpoint-7",)
    assert any("checkpoint-7" in line.text for line in heard.of(LogLine))


def test_the_kept_cache_answers_as_an_empty_one(make_config: Any, make_session: Any) -> None:
    from engine.chat import Chatter

    config = make_config(max_new_tokens=12)
    session, _ = make_session()
    kept, fresh = Chatter(config, session), Chatter(config, session)
    talk: list[ChatMessage] = []
    for question in ("Hello", "And then?", "Why?"):
        talk.append(ChatMessage("user", question))
        fresh._kept.drop()
        before = kept.cached_tokens
        answer = kept.answer(talk, None, config, session.publish)
        assert answer["text"] == fresh.answer(talk, None, config, session.publish)["text"]
        assert kept.cached_tokens > before
        talk.append(ChatMessage("assistant", answer["text"]))
    # Another conversation after it: what does not match is cut away.
    other = [ChatMessage("user", "Hello there, you")]
    fresh._kept.drop()
    assert (
        kept.answer(other, None, config, session.publish)["text"]
        == fresh.answer(other, None, config, session.publish)["text"]
    )


def test_only_what_is_new_is_read_in_a_second_turn(make_config: Any, make_session: Any) -> None:
    from engine.chat import Chatter

    config = make_config(max_new_tokens=5)
    session, _ = make_session()
    chatter = Chatter(config, session)
    first = chatter.answer(ASK, None, config, session.publish)
    talk = (*ASK, ChatMessage("assistant", first["text"]), ChatMessage("user", "ok"))
    prompt = chatter._prompt(talk, None)
    held = list(chatter._kept.ids)
    _, rest = chatter._kept.take(prompt)
    shared = len(prompt) - len(rest)
    assert prompt[:shared] == held[:shared] and shared >= len(chatter._prompt(ASK, None))


def test_pieces_join_to_the_answer_and_hold_whole_characters(
    make_config: Any, make_session: Any
) -> None:
    from engine.chat import Chatter
    from engine.chat.chatter import _Writer

    config = make_config()
    session, heard = make_session()
    chatter = Chatter(config, session)
    tokenizer = chatter.loaded.encoder.tokenizer
    writer = _Writer(tokenizer.backend, config, session.publish)
    said = "你是谁？🎉 né"
    for token in tokenizer.encode(said):
        writer.add(token)
        writer.flush()
    pieces = [event.text for event in heard.of(AnswerPiece)]
    assert "".join(pieces) == writer.text == said
    assert all("�" not in piece for piece in pieces) and pieces[0] == "你"
    # An answer that breaks off inside a character leaves that character out.
    half = _Writer(tokenizer.backend, config, session.publish)
    for token in tokenizer.encode("ab谁")[:-1]:
        half.add(token)
    assert half.text == "ab"


def test_every_end_id_ends_the_answer(
    model_folder: Path, make_config: Any, make_session: Any
) -> None:
    from engine.chat import Chatter

    config = make_config()
    session, heard = make_session()
    chatter = Chatter(config, session)
    ids = list(chatter.stream(ASK, None, config))
    third = next(i for n, i in enumerate(ids) if n >= 2 and i not in ids[:n])
    place = ids.index(third)
    chatter.loaded = chatter.loaded.__class__(
        **{**chatter.loaded.__dict__, "eos_ids": (*chatter.loaded.eos_ids, third)}
    )
    answer = chatter.answer(ASK, None, config, session.publish)
    assert answer["reason"] == "end" and answer["tokens"] == place + 1
    [ended] = heard.of(AnswerEnded)
    assert ended.text == answer["text"] == "".join(e.text for e in heard.of(AnswerPiece))
    assert ended.seconds >= ended.first_token_seconds > 0


def test_the_limit_and_the_context_end_an_answer(make_config: Any, make_session: Any) -> None:
    from engine.chat import Chatter

    config = make_config(max_new_tokens=3)
    session, heard = make_session()
    chatter = Chatter(config, session)
    assert chatter.answer(ASK, None, config, session.publish)["reason"] == "length"
    long = (ChatMessage("user", "x" * 180),)
    room = 256 - len(chatter._prompt(long, None))
    config = make_config(max_new_tokens=4000)
    answer = chatter.answer(long, None, config, session.publish)
    if answer["reason"] == "length":
        assert answer["tokens"] == room
        assert any("context" in line.text for line in heard.of(LogLine))
    with pytest.raises(BadInput) as caught:
        chatter.answer((ChatMessage("user", "x" * 300),), None, config, session.publish)
    assert "256" in caught.value.problem.what and caught.value.problem.hint


def test_total_length_bounds_where_the_answer_has_no_limit(
    make_config: Any, make_session: Any
) -> None:
    from engine.chat import Chatter

    session, _ = make_session()
    config = make_config(max_new_tokens=0, max_length=80)
    chatter = Chatter(config, session)
    prompt = len(chatter._prompt(ASK, None))
    assert len(list(chatter.stream(ASK, None, config))) <= 80 - prompt
    with pytest.raises(BadInput, match="max_length"):
        chatter.answer(ASK, None, make_config(max_new_tokens=0, max_length=5), session.publish)


def test_a_stop_ends_the_answer_with_what_is_there(make_config: Any, make_session: Any) -> None:
    from engine.chat import Chatter

    config = make_config(max_new_tokens=200)
    loading, _ = make_session()
    chatter = Chatter(config, loading)
    chatter.loaded = chatter.loaded.__class__(**{**chatter.loaded.__dict__, "eos_ids": ()})
    session, heard = make_session()  # each answer is a job of its own
    heard.on = lambda event: isinstance(event, AnswerPiece) and session.control.stop()
    answer = chatter.answer(ASK, None, config, session.publish)
    assert answer["reason"] == "stopped" and 0 < answer["tokens"] < 200
    [ended] = heard.of(AnswerEnded)
    assert ended.reason == "stopped" and ended.text == answer["text"]
    # The next answer is as good as any.
    again, _ = make_session()
    whole = chatter.answer(
        ASK, None, make_config(max_new_tokens=answer["tokens"] + 5), again.publish
    )
    assert whole["text"].startswith(answer["text"]) and whole["reason"] == "length"
    assert not chatter.loaded.model.model.layers[0]._forward_pre_hooks


def test_a_stop_comes_through_in_the_middle_of_a_pass(make_config: Any, make_session: Any) -> None:
    from engine.chat import Chatter

    config = make_config()
    session, _ = make_session()
    chatter = Chatter(config, session)
    reached: list[int] = []
    layers = chatter.loaded.model.model.layers
    first = layers[0].register_forward_hook(lambda *_: session.control.stop())
    last = layers[-1].register_forward_hook(lambda *_: reached.append(1))
    answer = chatter.answer(ASK, None, config, session.publish)
    first.remove()
    last.remove()
    assert answer["reason"] == "stopped" and answer["tokens"] == 0 and not reached
    assert chatter.cached_tokens == 0


def test_sampling_repeats_by_seed_and_goes_on_between_answers(
    make_config: Any, make_session: Any
) -> None:
    from engine.chat import Chatter

    config = make_config(do_sample=True, temperature=1.5, top_p=0.95, top_k=0, seed=7)
    session, _ = make_session()
    runs = []
    for _ in range(2):
        chatter = Chatter(config, session)
        runs.append([list(chatter.stream(ASK, None, config)) for _ in range(2)])
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]
    other = make_config(do_sample=True, temperature=1.5, top_p=0.95, top_k=0, seed=8)
    assert list(chatter.stream(ASK, None, other)) != runs[0][0]
    only_one = make_config(do_sample=True, top_k=1)
    greedy = list(chatter.stream(ASK, None, make_config()))
    assert list(chatter.stream(ASK, None, only_one)) == greedy


def test_beams_answer_as_generate_does(
    model_folder: Path, make_config: Any, make_session: Any
) -> None:
    from engine.chat import Chatter

    config = make_config(num_beams=3, max_new_tokens=10)
    session, _ = make_session()
    chatter = Chatter(config, session)
    prompt = chatter._prompt(ASK, None)
    theirs = generated(
        plain_model(model_folder), prompt, do_sample=False, num_beams=3, max_new_tokens=10
    )
    text = chatter.loaded.encoder.tokenizer.decode(theirs, skip_special_tokens=True)
    answer = chatter.answer(ASK, None, config, session.publish)
    assert text.rstrip("�") == answer["text"].rstrip("�")


def test_the_prompt_is_what_the_datasets_encoder_writes(
    make_config: Any, make_session: Any
) -> None:
    from engine.chat import Chatter

    config = make_config(default_system="From the settings.")
    session, heard = make_session()
    chatter = Chatter(config, session)
    decode = chatter.loaded.encoder.tokenizer.decode
    assert decode(chatter._prompt(ASK, "Mine.")) == (
        "<|im_start|>system\nMine.<|im_end|>\n<|im_start|>user\nWhere is the sun?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert "From the settings." in decode(chatter._prompt(ASK, None))
    assert any("loading" in event.activity for event in heard.of(Progress))


def test_what_is_no_adapter_is_told(tmp_path: Path, make_config: Any, make_session: Any) -> None:
    from engine.chat import Chatter

    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no adapter"):
        Chatter(make_config(adapter_name_or_path=str(tmp_path / "empty")), make_session()[0])
