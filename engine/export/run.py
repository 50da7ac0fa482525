"""One export from its settings to the finished folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.export import scorer, weights
from engine.export.adapter import Changes, NotByTensor, check_fit, read_changes
from engine.export.card import auto_class, export_card, license_of
from engine.export.companions import copy_companions, write_configs, write_template
from engine.export.modelfile import modelfile
from engine.export.target import check_room, check_target, written_beside
from engine.models.folder import read_json
from engine.models.kinds import model_class
from engine.models.rope import stored_scaling
from engine.models.vision import reads_in
from engine.runs.session import JobSession

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.models.inference import Sources


def run_export(config: RunConfig, session: JobSession) -> dict[str, Any]:
    """Write the model of `config`, its adapters merged in, to `export_dir`.

    Each weight is the base's plus all updates, summed in fp32 and rounded once to its type:
    `infer_dtype`, where `auto` keeps the type that each weight is stored in. (So a bf16 base stays
    bf16, and a full fine-tuning that was saved in fp32 stays fp32; bfloat16 halves it.) A head
    that shares the embedding's weight gets one of its own where an adapter changes only one of the
    two. Shards are at most `export_size` GB. A reward model becomes a folder of sequence
    classification with its head.

    Returns `folder`, `size` (bytes of weights), `dtype`, `shards`, `parameters`, `loads_as` (the
    class of transformers) and `seconds`.
    Raises BadInput for a target that exists or lies in its own source and for what can't be
    merged, JobFault for a disk without room, Stopped once asked to stop. Nothing is left behind
    then.
    """
    from engine.models.inference import find_sources

    began = time.monotonic()
    sources = find_sources(config, session)
    target = check_target(config.export_dir or "", [sources.folder, *sources.adapters])
    result = _Export(config, session, sources, target).perform()
    return {**result, "seconds": round(time.monotonic() - began, 2)}


class _Export:
    """The parts of one export while it lasts."""

    def __init__(
        self, config: RunConfig, session: JobSession, sources: Sources, target: Path
    ) -> None:
        self.config = config
        self.session = session
        self.sources = sources
        self.target = target
        self.shard_bytes = config.export_size * weights.GIGABYTE
        self.scores = scorer.scores(sources, config.stage)
        self.head = scorer.find_head(sources) if self.scores else None
        self.tied = self._tied() if sources.adapters and not self.scores else None

    def perform(self) -> dict[str, Any]:
        from engine.datasets import Encoder
        from engine.export.whole_merge import describe_blocks, merge_whole
        from engine.models.inference import text_folder

        session, sources = self.session, self.sources
        texts = self._scorer_texts() if self.scores else text_folder(sources)
        encoder = Encoder(texts, self.config)
        device = self._device()
        self._refuse_quantised()
        try:
            plan = self._plan()
        except NotByTensor as reason:
            session.say(f"The adapter is merged by peft, in memory: {reason}.", "note")
            plan = None
        size = plan.size if plan else self._whole_size()
        check_room(self.target, size)
        with written_beside(self.target) as folder:
            if plan is not None:
                dtype = self._config_dtype(plan)
                shards = weights.write_shards(
                    plan, folder, self.shard_bytes, device, session.progress, session.check
                )
                untied, vocabulary = plan.untied, self._vocabulary(plan)
                blocks: dict[str, Any] = {}
            else:
                merged = merge_whole(
                    self.config,
                    sources,
                    self._whole_dtype(),
                    folder,
                    self.shard_bytes,
                    device,
                    self._touches_tied(),
                    "score" if self.scores else "language",
                    session.progress,
                    session.check,
                )
                dtype, shards, untied = merged.dtype, merged.shards, merged.untied
                vocabulary, blocks = None, merged.blocks
            session.progress("writing configs", 0, 1, "parts")
            base = read_json(sources.folder / "config.json")
            copy_companions(sources.folder, texts, folder, own_code="auto_map" in base)
            described = write_configs(
                sources.folder,
                folder,
                dtype,
                untied,
                vocabulary,
                encoder,
                stored_scaling(sources.adapters),
            )
            if blocks:
                describe_blocks(folder, blocks)
            write_template(folder, encoder, bool(sources.adapters), self.config.template)
            _, infos = weights.stored_weights(folder)
            parameters = sum(info.elements for info in infos.values())
            if self.head is None:
                text = modelfile(encoder, described, self.config.default_system)
                (folder / "Modelfile").write_text(text, encoding="utf-8")
            else:
                scorer.complete(folder, described, encoder.pad_id, self.head)
            (folder / "README.md").write_text(self._card(dtype, parameters), encoding="utf-8")
            size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
            session.check()
        session.progress("writing configs", 1, 1, "parts")
        return {
            "folder": str(self.target),
            "size": size,
            "dtype": dtype,
            "shards": shards,
            "parameters": parameters,
            "loads_as": auto_class(*self._reads()),
        }

    # -- before ----------------------------------------------------------------------------

    def _device(self) -> str:
        if self.config.export_device == "cpu":
            return "cpu"
        from engine.models.device import choose_device

        return choose_device(self.config)

    def _refuse_quantised(self) -> None:
        if "quantization_config" not in read_json(self.sources.folder / "config.json"):
            return
        if self.sources.adapters or self.config.infer_dtype != "auto":
            raise weights.quantised(self.sources.folder, "its config.json says how")

    def _tied(self) -> tuple[str, str] | None:
        from engine.export.tied import tied_names

        return tied_names(self.sources.folder, bool(self.config.trust_remote_code))

    def _plan(self) -> weights.Plan:
        """What is written, weight by weight. Raises NotByTensor where only peft can merge."""
        _, shapes = weights.stored_weights(self.sources.folder)
        if self.head is not None:
            shapes = scorer.without_language(shapes, self.head)
        head, embedding = self.tied or (None, None)
        if head is not None and embedding in shapes:
            shapes[head] = shapes[embedding]
        changes: list[Changes] = []
        for number, adapter in enumerate(self.sources.adapters):
            self.session.progress(
                "reading adapters", number, len(self.sources.adapters), "adapters"
            )
            change = read_changes(adapter)
            check_fit(change, shapes)
            changes.append(change)
        folder, dtype = self.sources.folder, self.config.infer_dtype
        if self.head is not None:
            changes.append(scorer.as_changes(folder, self.head))
            return weights.plan(folder, dtype, changes, None, None, shapes)
        if embedding not in shapes:
            head = embedding = None
        return weights.plan(folder, dtype, changes, head, embedding)

    def _scorer_texts(self) -> Path:
        """The tokenizer that a reward model was trained with: its padding is part of it."""
        from engine.models.inference import text_folder

        trained = [a for a in self.sources.adapters if (a / "tokenizer.json").is_file()]
        return trained[-1] if trained else text_folder(self.sources)

    # -- what only peft can merge ------------------------------------------------------------

    def _whole_dtype(self) -> str:
        if self.config.infer_dtype != "auto":
            return self.config.infer_dtype
        from engine.models.card import stored_dtype

        folder = self.sources.folder
        stored = stored_dtype(read_json(folder / "config.json"), folder)
        return stored if stored in ("float32", "float16", "bfloat16") else "float32"

    def _whole_size(self) -> int:
        _, infos = weights.stored_weights(self.sources.folder)
        each = 4 if self._whole_dtype() == "float32" else 2
        return sum(info.elements for info in infos.values()) * each

    def _touches_tied(self) -> bool:
        """Whether an adapter that peft merges changes a head or embedding that are one weight."""
        if self.tied is None:
            return False
        from engine.models.headers import read_header

        modules = {name.removesuffix(".weight") for name in self.tied}
        for adapter in self.sources.adapters:
            if read_json(adapter / "adapter_config.json").get("ensure_weight_tying"):
                continue
            for name in read_header(adapter / "adapter_model.safetensors"):
                stripped = name.removeprefix("base_model.model.")
                if any(stripped.startswith(module + ".") for module in modules):
                    return True
        return False

    # -- after -----------------------------------------------------------------------------

    def _config_dtype(self, plan: weights.Plan) -> str:
        """The type that config.json names, and so the one transformers loads everything in.

        With auto the base's own word: weights that stand in a wider type beside it (a freeze
        run's trained blocks) are then rounded once on loading.
        """
        from engine.models.card import stored_dtype

        if self.config.infer_dtype != "auto":
            return self.config.infer_dtype
        folder = self.sources.folder
        told = stored_dtype(read_json(folder / "config.json"), folder)
        kinds = {weight.info.dtype for weight in plan.weights}
        return told if told and len(kinds) > 1 else plan.dtype

    def _vocabulary(self, plan: weights.Plan) -> int | None:
        """Rows of an embedding that an adapter brings with more of them than the base has."""
        config = read_json(self.sources.folder / "config.json")
        inner = config.get("text_config")
        stored = (inner if isinstance(inner, dict) else config).get("vocab_size")
        _, infos = weights.stored_weights(self.sources.folder)
        for weight in plan.weights:
            rows, before = weight.info.shape[:1], infos[weight.source].shape[:1]
            if before == (stored,) and rows > before:
                return rows[0]
        return None

    def _card(self, dtype: str, parameters: int) -> str:
        given = (self.config.model_name_or_path or "").strip()
        local = Path(given).expanduser().exists()
        # A path says something about this machine, and nothing to whoever reads the card.
        base = given if "/" in given and not local else self.sources.name
        adapters = ["/".join(adapter.absolute().parts[-2:]) for adapter in self.sources.adapters]
        folder = self.sources.folder
        named = license_of(folder)
        return export_card(
            self.target.name,
            base,
            adapters,
            dtype,
            parameters,
            named,
            *self._reads(),
        )

    def _reads(self) -> tuple[bool, bool, str]:
        """What `auto_class` asks of a model."""
        folder = self.sources.folder
        reads = reads_in(folder)
        hears = model_class(folder, "language").__name__ if "audio" in reads else ""
        return self.scores, "image" in reads, hears
