"""Scores of a reward model: on the policy's own base, of a model of its own, from a service."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.problem import BadInput, JobFault, Stopped

ROWS = [[5, 6, 7, 8, 9], [10, 11, 2], [20, 21, 22, 23, 24, 25, 2], [7, 2]]


def reward_model(folder: Path, seed: int = 3) -> Any:
    """transformers' sequence classification on the tiny base, with a random head."""
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(str(folder), num_labels=1)
    torch.nn.init.normal_(model.score.weight)
    return model.eval()


def plain_scores(model: Any, rows: list[list[int]] = ROWS) -> torch.Tensor:
    """Row by row, without any padding: head on the last hidden state."""
    with torch.no_grad():
        return torch.stack([model(torch.tensor([row])).logits.reshape(()) for row in rows])


@pytest.fixture
def adapter_folder(model_folder: Path, tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A reward adapter as our runs of stage rm save it, and the scores it gives."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        reward_model(model_folder),
        LoraConfig(task_type="SEQ_CLS", r=4, target_modules="all-linear"),
    )
    torch.manual_seed(9)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    folder = tmp_path / "reward"
    model.eval().save_pretrained(folder)
    return folder, plain_scores(model)


@pytest.fixture
def make_parts(model_folder: Path, make_config: Callable, make_session: Callable, tmp_path: Path):
    from engine.models import choose_precision, load_model, load_tokenizer
    from engine.training.methods import apply_method

    def make(**changes: Any) -> Any:
        config = make_config(stage="ppo", **changes)
        precision = choose_precision(config, "cpu")
        model = load_model(model_folder, config, precision, "cpu", for_training=True)
        session, listener = make_session(tmp_path / "run")
        return SimpleNamespace(
            config=config,
            model=apply_method(model, config, precision),
            tokenizer=load_tokenizer(model_folder),
            precision=precision,
            device="cpu",
            session=session,
            listener=listener,
            model_folder=SimpleNamespace(path=model_folder, name="tiny"),
        )

    return make


def load(parts: Any) -> Any:
    from engine.training.rewards.model import load_reward_model

    return load_reward_model(parts)


# -- lora --------------------------------------------------------------------------------------


def test_an_adapter_scores_on_the_policys_base(adapter_folder, make_parts) -> None:
    folder, expected = adapter_folder
    parts = make_parts(reward_model=str(folder), reward_model_type="lora")
    for name, weight in parts.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)  # a policy that has moved on already
    policy = parts.model
    before = policy.eval()(torch.tensor([ROWS[0]])).logits
    trained = {n for n, p in policy.named_parameters() if p.requires_grad}
    base = sum(p.numel() for n, p in policy.named_parameters() if "lora_" not in n)
    policy.train()

    scorer = load(parts)
    torch.testing.assert_close(scorer.score(ROWS), expected, rtol=1e-5, atol=1e-5)

    assert policy.training
    assert list(policy.active_adapters) == ["default"]
    assert {n for n, p in policy.named_parameters() if p.requires_grad} == trained
    assert torch.equal(policy.eval()(torch.tensor([ROWS[0]])).logits, before)
    assert sum(p.numel() for n, p in policy.named_parameters() if "lora_" not in n) == base


def test_the_usual_tools_head_beside_the_adapter_is_read(adapter_folder, make_parts) -> None:
    from engine.models.value_head import write_value_head

    folder, expected = adapter_folder
    parts = make_parts(reward_model=str(folder), reward_model_type="lora")
    from engine.training.rewards.model import read_head

    weight, _ = read_head(folder)
    write_value_head(folder, 2 * weight, torch.tensor([0.5]))
    torch.testing.assert_close(load(parts).score(ROWS), 2 * expected + 0.5, rtol=1e-4, atol=1e-4)


def test_modules_trained_whole_are_left_alone(adapter_folder, make_parts) -> None:
    """additional_target gives the policy a module of its own; the reward reads the base's."""
    folder, expected = adapter_folder
    parts = make_parts(
        reward_model=str(folder), reward_model_type="lora", additional_target="embed_tokens"
    )
    trained = {n for n, p in parts.model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, weight in parts.model.named_parameters():
            if "modules_to_save" in name:
                weight.add_(1.0)
    torch.testing.assert_close(load(parts).score(ROWS), expected, rtol=1e-5, atol=1e-5)
    assert {n for n, p in parts.model.named_parameters() if p.requires_grad} == trained


def test_an_adapter_of_another_shape_is_refused(adapter_folder, make_parts) -> None:
    from safetensors.torch import load_file, save_file

    folder, _ = adapter_folder
    file = folder / "adapter_model.safetensors"
    wrong = {
        key: (value[:, :-1].contiguous() if "lora_A" in key else value)
        for key, value in load_file(str(file)).items()
    }
    save_file(wrong, str(file), metadata={"format": "pt"})
    with pytest.raises(BadInput, match="does not fit") as caught:
        load(make_parts(reward_model=str(folder), reward_model_type="lora"))
    assert caught.value.problem.setting == "reward_model"


def test_an_adapter_without_a_head_is_refused(make_parts, tmp_path: Path) -> None:
    parts = make_parts()
    parts.model.save_pretrained(tmp_path / "language")
    parts.config = replace(parts.config, reward_model=str(tmp_path / "language"))
    with pytest.raises(BadInput, match="no head that scores"):
        load(parts)


def test_a_whole_model_is_no_adapter(model_folder: Path, make_parts) -> None:
    with pytest.raises(BadInput, match="whole model"):
        load(make_parts(reward_model=str(model_folder), reward_model_type="lora"))


# -- full --------------------------------------------------------------------------------------


def test_a_sequence_classifier_scores(model_folder: Path, make_parts, tmp_path: Path) -> None:
    model = reward_model(model_folder)
    model.save_pretrained(tmp_path / "full")
    copy_tokenizer(model_folder, tmp_path / "full")
    parts = make_parts(reward_model=str(tmp_path / "full"), reward_model_type="full")
    torch.testing.assert_close(load(parts).score(ROWS), plain_scores(model), rtol=1e-5, atol=1e-5)


def test_a_language_model_with_a_value_head_scores(
    model_folder: Path, make_parts, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    from engine.models.value_head import write_value_head

    model = AutoModelForCausalLM.from_pretrained(str(model_folder)).eval()
    folder = tmp_path / "usual"
    model.save_pretrained(folder)
    copy_tokenizer(model_folder, folder)
    weight, bias = torch.randn(1, 32), torch.tensor([0.25])
    write_value_head(folder, weight, bias)
    with torch.no_grad():
        expected = torch.stack(
            [
                (model.model(torch.tensor([row])).last_hidden_state[0, -1] @ weight[0]) + bias[0]
                for row in ROWS
            ]
        )
    parts = make_parts(reward_model=str(folder), reward_model_type="full")
    torch.testing.assert_close(load(parts).score(ROWS), expected, rtol=1e-5, atol=1e-5)


def test_adapters_are_merged_into_a_whole_model(
    adapter_folder, model_folder: Path, make_parts
) -> None:
    folder, expected = adapter_folder
    parts = make_parts(
        reward_model=str(model_folder),
        reward_model_type="full",
        reward_model_adapters=str(folder),
    )
    torch.testing.assert_close(load(parts).score(ROWS), expected, rtol=1e-4, atol=1e-4)


def test_a_model_without_a_head_is_refused(model_folder: Path, make_parts) -> None:
    with pytest.raises(BadInput, match="no reward model"):
        load(make_parts(reward_model=str(model_folder), reward_model_type="full"))


def test_an_adapter_is_no_whole_model(adapter_folder, make_parts) -> None:
    folder, _ = adapter_folder
    with pytest.raises(BadInput, match="is an adapter") as caught:
        load(make_parts(reward_model=str(folder), reward_model_type="full"))
    assert "reward_model_adapters" in caught.value.problem.hint


def copy_tokenizer(source: Path, folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder / name)


# -- api ---------------------------------------------------------------------------------------


class Service:
    """A reward service in this process: `reply` turns what was posted into a status and a body."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.reply: Callable[[dict[str, Any]], tuple[int, bytes]] = lambda asked: (
            200,
            json.dumps({"scores": [float(len(m)) for m in asked["messages"]]}).encode(),
        )
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.posted.append(asked)
                status, body = service.reply(asked)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/score"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.close()


def silent_until(held: threading.Event) -> Callable[[Any], tuple[int, bytes]]:
    def reply(_: Any) -> tuple[int, bytes]:
        held.wait(20)
        return 200, b""

    return reply


def test_a_service_is_sent_texts_and_gives_scores(service: Service, make_parts) -> None:
    parts = make_parts(reward_model=service.address, reward_model_type="api")
    scores = load(parts).score(ROWS)
    (asked,) = service.posted
    assert set(asked) == {"model", "messages"}
    assert asked["model"] == "model"
    assert asked["messages"] == parts.tokenizer.batch_decode(ROWS, skip_special_tokens=False)
    assert asked["messages"][1].endswith("<|im_end|>")
    assert scores.tolist() == [float(len(text)) for text in asked["messages"]]
    assert scores.dtype == torch.float32


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (500, b"oh no", "status 500"),
        (200, b"not json", "something else than scores"),
        (200, b'{"rewards": [1]}', "something else than scores"),
        (200, b"[1, 2]", "something else than scores"),
        (200, b'{"scores": [1.0]}', "gave 1 scores for 2 messages"),
        (200, b'{"scores": [1.0, "high"]}', "not a list of numbers"),
        (200, b'{"scores": [1.0, NaN]}', "not a list of numbers"),
        (200, b'{"scores": 1.0}', "not a list of numbers"),
    ],
)
def test_what_a_service_does_wrong_is_told(
    status: int, body: bytes, told: str, service: Service, make_parts
) -> None:
    service.reply = lambda _: (status, body)
    scorer = load(make_parts(reward_model=service.address, reward_model_type="api"))
    with pytest.raises(JobFault) as caught:
        scorer.score(ROWS[:2])
    assert told in caught.value.problem.what
    assert caught.value.problem.where == service.address


def test_a_slow_service_is_told(service: Service, make_parts) -> None:
    from engine.training.rewards.service import RewardService

    held = threading.Event()
    service.reply = silent_until(held)
    scorer = RewardService(service.address, make_parts().tokenizer, seconds=0.2)
    try:
        with pytest.raises(JobFault, match="did not answer within"):
            scorer.score(ROWS)
    finally:
        held.set()


def test_a_stop_comes_through_while_a_service_thinks(service: Service, make_parts) -> None:
    held = threading.Event()
    service.reply = silent_until(held)
    scorer = load(make_parts(reward_model=service.address, reward_model_type="api"))
    looks = 0

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise Stopped

    try:
        with pytest.raises(Stopped):
            scorer.score(ROWS, check)
    finally:
        held.set()


def test_an_address_where_nobody_listens_is_told_at_once(service: Service, make_parts) -> None:
    service.close()
    with pytest.raises(BadInput, match="can't be reached"):
        load(make_parts(reward_model=service.address, reward_model_type="api"))


def test_a_service_that_has_gone_is_told(service: Service, make_parts) -> None:
    scorer = load(make_parts(reward_model=service.address, reward_model_type="api"))
    service.close()
    with pytest.raises(JobFault, match="can't be reached"):
        scorer.score(ROWS)
