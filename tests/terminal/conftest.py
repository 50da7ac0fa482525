"""The program in a real terminal: tmux with a server of its own, a tiny model, saved settings."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

REPOSITORY = Path(__file__).parents[2]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROMPT = "ready> "
SECONDS = 90.0
LONG_RUN = 20_000


class Tmux:
    """A pane with a shell in it, on a server that nobody else uses.

    Attributes:
        folder: The folder the shell is in: runs land in its `saves/`.
    """

    def __init__(self, folder: Path, columns: int, lines: int, environ: dict[str, str]) -> None:
        self.folder = folder
        self.socket = f"finetui-test-{os.getpid()}-{time.monotonic_ns()}"
        self._environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TMUX", "LC_", "FINETUI_")) and name not in ("NO_COLOR", "ENV")
        } | environ
        # A shell without line editing: what is typed while a program runs stays typed.
        size = ["-x", str(columns), "-y", str(lines)]
        self.tmux(
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            *size,
            "-c",
            str(folder),
            f"exec env PS1='{PROMPT}' sh -i",
        )
        self.tmux("set", "-g", "status", "off")
        # Without the status line the window grows by a row; nobody is attached to fix its size.
        self.tmux("resize-window", "-x", str(columns), "-y", str(lines))
        self.wait_for(PROMPT.rstrip())

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self.socket, *words],
            env=self._environ,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def kill_server(self) -> None:
        """Drop the line: the pseudo-terminal's other end goes away."""
        subprocess.run(["tmux", "-L", self.socket, "kill-server"], capture_output=True)

    def keys(self, *keys: str) -> None:
        """Press keys by tmux's names (`t`, `Enter`, `C-z`)."""
        self.tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def line(self, command: str) -> None:
        """Type a command line for the shell."""
        self.type(command)
        self.keys("Enter")

    def capture(self) -> str:
        """What the pane shows, row by row."""
        return self.tmux("capture-pane", "-p")

    def state(self, name: str) -> str:
        """A value of tmux's for the pane (`alternate_on`, `cursor_flag`, `pane_pid`)."""
        return self.tmux("display-message", "-p", f"#{{{name}}}").strip()

    def wait_for(self, what: str | Callable[[str], object], seconds: float = SECONDS) -> str:
        """Wait until a text stands in the pane, or something holds of it; returns the pane."""
        end = time.monotonic() + seconds
        while True:
            seen = self.capture()
            if what in seen if isinstance(what, str) else what(seen):
                return seen
            assert time.monotonic() < end, f"never: {what}\n{seen}"
            time.sleep(0.1)

    def wait_for_prompt(self) -> None:
        self.wait_for(lambda seen: seen.rstrip().endswith(PROMPT.rstrip()))

    # The program

    def open(self, *options: str, until: str = "commands") -> str:
        """Start the screen from the shell and wait for its first full frame."""
        self.line(" ".join([sys.executable, "-m", "tui", *options]))
        return self.wait_for(lambda seen: until in seen.rstrip("\n").rsplit("\n", 1)[-1])

    def process(self) -> psutil.Process:
        """The program that the shell runs."""
        shell = psutil.Process(int(self.state("pane_pid")))
        found = [p for p in shell.children(recursive=True) if "tui" in p.cmdline()]
        assert len(found) == 1, found
        return found[0]

    def settings_of_tty(self) -> str:
        """The terminal's settings, as a program sees them that the shell starts."""
        kept = self.folder / "stty"
        kept.unlink(missing_ok=True)
        self.line("stty -g > stty; echo kept >> stty")
        wait_until(lambda: kept.exists() and "kept" in kept.read_text())
        return kept.read_text()

    def last_status(self) -> int:
        """The exit status of what the shell ran last."""
        self.wait_for_prompt()
        kept = self.folder / "status"
        kept.unlink(missing_ok=True)
        self.line("echo $?, > status")
        wait_until(lambda: kept.exists() and "," in kept.read_text())
        return int(kept.read_text().split(",")[0])

    def assert_as_before(self, tty: str) -> None:
        """The main screen is back, the cursor shows, no mode is left on, `stty -g` says `tty`."""
        self.wait_for_prompt()
        assert "before it opened" in self.capture()
        modes = ("alternate_on", "cursor_flag", "mouse_any_flag", "bracket_paste_flag")
        told = {name: self.state(name) for name in modes}
        # tmux 3.3 has no `bracket_paste_flag`: an unknown name is empty.
        assert told.pop("bracket_paste_flag") in ("", "0")
        assert told == {"alternate_on": "0", "cursor_flag": "1", "mouse_any_flag": "0"}
        assert self.settings_of_tty() == tty


def wait_until(holds: Callable[[], object], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "never held"
        time.sleep(0.05)


def runs_in(folder: Path) -> list[Path]:
    """The run folders under `saves/`, by name."""
    return sorted(path.parent for path in folder.glob("saves/*/*/*/events.jsonl"))


def complete_steps(run: Path) -> list[int]:
    """The steps of the checkpoints that can be resumed from."""
    from engine.runs.checkpoints import list_checkpoints

    return [one.step for one in list_checkpoints(run) if one.complete and one.resumable]


def logged_steps(run: Path) -> list[int]:
    """The steps whose loss was logged."""
    try:
        text = (run / "trainer_log.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    rows = [json.loads(row) for row in text.splitlines()]
    return [row["current_steps"] for row in rows if "loss" in row]


def save_tiny_llama(folder: Path) -> Path:
    """A 2-layer Llama of width 64 with random weights and a byte-level BPE tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def environ() -> dict[str, str]:
    """What the program and the shell get; `cache` stays the person's own: the demo is in it."""
    kept = os.environ.get("FINETUI_CACHE")
    return {
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        **({"FINETUI_CACHE": kept} if kept else {}),
    }


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """State and settings of one test."""
    return {
        "FINETUI_STATE": str(tmp_path / "state"),
        "FINETUI_CONFIG": str(tmp_path / "config"),
    }


@pytest.fixture
def pane(
    tmp_path: Path, environ: dict[str, str], places: dict[str, str]
) -> Iterator[Callable[..., Tmux]]:
    """`pane(columns, lines, NAME="value")`: a shell in a pane, in a folder of the test's own."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    panes: list[Tmux] = []

    def make(columns: int = 120, lines: int = 40, **more: str) -> Tmux:
        folder = tmp_path / f"work-{len(panes)}"
        folder.mkdir()
        panes.append(Tmux(folder, columns, lines, environ | places | more))
        panes[-1].line("echo before it opened")
        return panes[-1]

    yield make
    for made in panes:
        made.kill_server()
    end_all(tmp_path)


def end_all(folder: Path) -> None:
    """Kill what a failed test left running in its folder."""
    for process in psutil.process_iter(["cwd"]):
        cwd = process.info["cwd"]
        if cwd and Path(cwd).is_relative_to(folder):
            try:
                process.send_signal(signal.SIGKILL)
                process.wait(10)
            except psutil.NoSuchProcess:
                continue


@pytest.fixture
def remember(places: dict[str, str], tiny_model: Path) -> Callable[..., None]:
    """`remember(max_steps=5)`: the form as if it had been filled in at the last start."""

    def write(**settings: Any) -> None:
        form: dict[str, Any] = {
            "stage": "sft",
            "model_name_or_path": str(tiny_model),
            "dataset": "identity",
            "finetuning_type": "lora",
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 1,
            "cutoff_len": 128,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "save_steps": LONG_RUN,
            "save_total_limit": 2,
            "max_new_tokens": 24,
            "memory_reserve_gb": 0,
            **settings,
        }
        state = Path(places["FINETUI_STATE"])
        state.mkdir(parents=True, exist_ok=True)
        (state / "screen.json").write_text(json.dumps({"form": form}), encoding="utf-8")

    return write


@pytest.fixture
def long_run(remember: Callable[..., None]) -> None:
    """A form whose run ends only when it is stopped."""
    remember(max_steps=LONG_RUN)


@pytest.fixture
def files() -> Any:
    """Looks at what the program left on disk."""

    class Files:
        runs = staticmethod(runs_in)
        complete = staticmethod(complete_steps)
        logged = staticmethod(logged_steps)
        wait = staticmethod(wait_until)

    return Files
