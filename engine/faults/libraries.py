"""The hub, missing packages, foreign code, chat templates, vocabularies."""

from __future__ import annotations

import re

from engine.faults.chain import first_line, names_of
from engine.problem import Problem

_OFFLINE = re.compile(
    r"couldn't connect to|Connection error|Max retries exceeded|Name or service not known"
    r"|Temporary failure in name resolution|Network is unreachable|offline mode|Connection refused",
    re.IGNORECASE,
)


def hub(error: BaseException) -> Problem | None:
    names, text = names_of(error), str(error)
    repo = re.search(r"huggingface\.co/(?:api/models/)?([\w.-]+/[\w.-]+)", text)
    where = repo.group(1) if repo else ""
    if "GatedRepoError" in names or "gated repo" in text:
        return Problem(
            "Access to this model has to be asked for on the hub.",
            where=where,
            hint="Accept its terms on its page, then log in with `hf auth login` or set HF_TOKEN.",
            setting="model_name_or_path",
        )
    if names & {"RepositoryNotFoundError", "RevisionNotFoundError"} or (
        "is not a local folder and is not a valid model identifier" in text
    ):
        return Problem(
            "The hub knows no such model or revision, or it is private.",
            where=where or first_line(error),
            hint="Check the name; a private model needs `hf auth login` or HF_TOKEN.",
            setting="model_name_or_path",
        )
    if names & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError"} or (
        names & {"ConnectionError", "ConnectTimeout", "ReadTimeout", "OSError", "HfHubHTTPError"}
        and _OFFLINE.search(text)
    ):
        return Problem(
            "The hub can't be reached, and the files are not in the cache.",
            where=where,
            hint="Check the network or HF_ENDPOINT, name a local folder, or use the demo model.",
            setting="model_name_or_path",
        )
    if "EntryNotFoundError" in names or "does not appear to have a file named" in text:
        return Problem(
            "The model folder lacks a file: " + first_line(error),
            hint="Choose a folder with config.json, tokenizer and *.safetensors weights.",
            setting="model_name_or_path",
        )
    if "HfHubHTTPError" in names:
        return Problem("The hub refused: " + first_line(error), where=where, hint="Try again.")
    return None


def libraries(error: BaseException) -> Problem | None:
    text = str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.split(".")[0]
        return Problem(f"The package {package} is not installed.", hint=f"pip install {package}")
    if isinstance(error, ImportError):
        return Problem(
            "A library can't be imported: " + first_line(error),
            hint="`finetui doctor` lists the versions; reinstall that library.",
        )
    if "trust_remote_code" in text:
        return Problem(
            "This model brings its own Python code, which finetui does not run unasked.",
            hint="If you trust where it comes from, set trust_remote_code.",
            setting="trust_remote_code",
        )
    if names := names_of(error) & {"TemplateSyntaxError", "TemplateError", "UndefinedError"}:
        return Problem(
            f"The model's chat template can't be applied ({min(names)}): {first_line(error)}",
            hint="Set template, or choose a model with a chat template.",
            setting="template",
        )
    if isinstance(error, IndexError) and "index out of range in self" in text:
        return Problem(
            "A token id lies beyond the model's vocabulary.",
            hint="The tokenizer belongs to another model: choose one folder for both.",
            setting="model_name_or_path",
        )
    return None
