"""The whole screen over a real engine, in a folder of its own, with readings that stand still."""

from __future__ import annotations

import asyncio
import time
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from textual.events import Key
from textual.keys import REPLACED_KEYS, _character_to_key, _get_unicode_name_from_key
from textual.pilot import Pilot

from engine.telemetry import Reading
from engine.telemetry.readings import CpuReading, MemoryReading
from engine.worker import Engine
from tui import language
from tui.app import FinetuiApp
from tui.keys import Keys
from tui.remembered import Remembered
from tui.theme import current_theme, set_current_theme

GIB = 1 << 30
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class StillSampler:
    """Stands where the sampler's thread would: its readings never change."""

    def __init__(self) -> None:
        self.reading = Reading(
            time=1_000_000.0,
            cpu=CpuReading(41.0, 2),
            ram=MemoryReading(int(2.8 * GIB), 23 * GIB),
            process_rss=90_000_000,
            gpus=(),
            disk_free=80_000_000_000,
        )

    def latest(self) -> Reading:
        return self.reading


class Shown:
    """An open screen, its pilot, and what stands on it."""

    def __init__(self, app: FinetuiApp, pilot: Pilot[int], engine: Engine) -> None:
        self.app = app
        self.pilot = pilot
        self.studio = app.studio
        self.engine = engine

    async def settle(self) -> None:
        """Wait until every look-up asked so far is answered and drawn."""
        for _round in range(2):
            await self._handled()
            await asyncio.wrap_future(self.engine.lookup(int))
        await self._handled()
        await self.pilot.pause()

    async def _handled(self) -> None:
        """Wait until what was sent is handled, and what came of that: a message that rises from
        the rail to the app is handed on once a round. The pilot's own pause waits for an idle
        processor too, which beside other tests takes most of a test's time."""
        for _round in range(8):
            await self.pilot.pause(0)

    async def press(self, *keys: str) -> None:
        """Press keys one after the other, each when the one before is handled."""
        for key in keys:
            self._send(key)
            await self._handled()
        await self.settle()

    async def press_at_once(self, *keys: str) -> None:
        """Press keys before the first of them is handled, as a slow line delivers them."""
        for key in keys:
            self._send(key)
        await self.settle()

    def _send(self, key: str) -> None:
        driver = self.app._driver
        assert driver is not None
        name = _character_to_key(key) if len(key) == 1 and not key.isalnum() else key
        event = Key(name, _character(name))
        event.set_sender(self.app)
        driver.send_message(event)

    async def type(self, text: str) -> None:
        names = {" ": "space", ",": "comma", "/": "slash", ".": "full_stop", "-": "minus",
                 "_": "underscore"}  # fmt: skip
        await self.press(*(names.get(char, char) for char in text))

    async def until(self, true: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait for the engine thread, ticking as the screen does."""
        for _turn in range(int(seconds / 0.05)):
            self.app.take_in()
            if true():
                await self.settle()
                return
            await self.pilot.pause(0.05)
        raise AssertionError(f"it did not come true in {seconds:.0f} s\n{self.text}")

    @property
    def lines(self) -> list[str]:
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def key_line(self) -> str:
        return self.lines[-1]

    @property
    def places(self) -> list[str]:
        """The views that can be seen."""
        return [name for name, view in self.app.views.items() if view.is_attached and view.display]

    @property
    def dialogs(self) -> int:
        return len(self.app.screen_stack) - 1


def _character(name: str) -> str | None:
    """What a key types, as the pilot finds it."""
    try:
        return unicodedata.lookup(_get_unicode_name_from_key(REPLACED_KEYS.get(name, name)))
    except KeyError:
        return name if len(name) == 1 else None


Opener = Callable[..., AbstractAsyncContextManager[Shown]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder the screen is started in; state, cache and keys lie beside it."""
    for name in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"FINETUI_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    theme = current_theme()
    language.use("en")
    yield folder
    language.use("en")
    set_current_theme(theme)


@pytest.fixture
def still_sampler() -> StillSampler:
    """Readings that never change."""
    return StillSampler()


@pytest.fixture
def open_screen(home: Path) -> Opener:
    """`async with open_screen(size=(120, 40), …) as shown`: the screen over an engine that is not
    started, or over the one that is given (it is shut down at the end)."""

    @asynccontextmanager
    async def opened(
        size: tuple[int, int] = (120, 40),
        *,
        engine: Engine | None = None,
        remembered: Remembered | None = None,
        keys: Keys | None = None,
        theme: str = "dark",
        model: str = "",
    ) -> AsyncIterator[Shown]:
        worker = engine or Engine()
        app = FinetuiApp(
            worker, StillSampler(), remembered or Remembered(), keys, theme, model  # type: ignore[arg-type]
        )  # fmt: skip
        try:
            async with app.run_test(size=size, notifications=True) as pilot:
                shown = Shown(app, pilot, worker)
                app.tick()
                await shown.settle()
                yield shown
        finally:
            await asyncio.to_thread(worker.shutdown, False, 30.0)

    return opened


def save_tiny_model(folder: Path) -> Path:
    """A random Llama of two layers with a byte-level tokenizer and a ChatML template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    words.update({letter: number for number, letter in enumerate(alphabet, len(words))})
    inner = Tokenizer(models.BPE(words, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    tokenizer.chat_template = CHATML
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny model. Treat it as read-only."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")
