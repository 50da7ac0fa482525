"""Every broken set gives a message with file, row and reason, or its usable rows and a count."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import (
    Encoder,
    RowIndex,
    RowProblem,
    check_dataset,
    list_datasets,
    open_rows,
    prepare,
)
from engine.datasets.checks import near_duplicates
from engine.problem import BadInput, Problem


def opened(folder: Path) -> RowIndex:
    rows = open_rows("mine", folder)
    if not len(rows):
        raise BadInput(Problem("The set holds no rows."))
    return rows


def said(error: BadInput) -> str:
    problem = error.problem
    assert problem.what.strip()
    return f"{problem.what} {problem.where} {problem.hint}"


@pytest.mark.timeout(60)
def test_a_broken_set_is_told_and_the_rest_of_it_used(
    case: Any, broken: Path, model_folders: dict[str, Path], make_config: Any
) -> None:
    encoder = Encoder(model_folders["chatml"], make_config())
    if case.fatal:
        with pytest.raises(BadInput) as refused:
            check_dataset(opened(broken), encoder)
        assert re.search(case.fatal, said(refused.value), re.DOTALL), said(refused.value)
        return
    rows = opened(broken)
    found = check_dataset(rows, None if rows.info.columns.images else encoder)
    reasons = {problem.row: problem.reason for problem in found.problems}
    assert reasons.keys() == case.bad.keys(), reasons
    for row, pattern in case.bad.items():
        assert re.search(pattern, reasons[row]), reasons[row]
    assert (found.usable, found.unusable) == (case.usable, len(case.bad))
    assert found.status == ("unusable" if not case.usable else "bad rows" if case.bad else
                            found.status)  # fmt: skip
    assert str(case.usable) in found.verdict
    for index in range(len(rows)):
        example = rows.example(index)
        number = example.row if isinstance(example, RowProblem) else example.source_row
        assert number == index + 1
    near_duplicates(rows)


def test_the_list_of_sets_survives_it(case: Any, broken: Path) -> None:
    try:
        entries = list_datasets(broken)
    except BadInput as error:
        # Only a registry that can't be read takes the whole list with it.
        assert "registry" in case.name and "dataset_info.json" in said(error)
        return
    assert [entry.name for entry in entries] == ["mine"]


@pytest.mark.timeout(60)
def test_the_run_leaves_out_what_the_check_names(
    case: Any, broken: Path, model_folders: dict[str, Path], make_config: Any
) -> None:
    stage = {"ranking": "dpo", "columns": "sft"}.get(next(iter(reversed(case.entry)), ""), "sft")
    stage = "kto" if "kto_tag" in case.entry.get("columns", ()) else stage
    stage = "pt" if case.file.endswith(".txt") else stage
    config = make_config(dataset="mine", dataset_dir=str(broken), stage=stage)
    encoder = Encoder(model_folders["chatml"], config)
    try:
        prepared = prepare(config, encoder)
    except BadInput as error:
        assert case.fatal or not case.usable, said(error)
        return
    assert not case.fatal
    assert sorted(problem.row for problem in prepared.dropped) == sorted(case.bad)
    assert stage == "pt" or len(prepared.train) == case.usable  # texts are packed
    if case.bad:
        assert any("left out" in note for note in prepared.notes)
