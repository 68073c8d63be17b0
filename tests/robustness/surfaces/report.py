"""Damaged results: what make report and make diff read of a run."""

from pathlib import Path

from hypothesis import strategies as st

from gpt.eval.documents import parse_documents
from gpt.report.inputs import read_samples, read_table
from tests.robustness.cases import Damage, Surface, damages, outcome

TABLE = b"step\tloss\tkind\n1\t0.5\ta\n2\t1e-3\t\n3\t-7\tTrue\n"
DOCUMENTS = b"document\tbytes\ttokens\tnats\n"
PAGE = (
    b"# Samples\n\nIntro\n\n## One\n\n```text\nOnce\n```\n\n## Two\n\nnote\n\n````text\n```\n````\n"
)
rows = st.lists(
    st.tuples(st.text("0123456789abcdef", max_size=16), st.integers(), st.integers(), st.floats())
)


def table(folder: Path, damage: Damage) -> None:
    path = folder / "training.tsv"
    path.write_bytes(damage.apply(TABLE))
    found = outcome(lambda: read_table(path))
    assert found is None or all(set(row) == set(found[0]) for row in found)


def documents(folder: Path, case: tuple[list[tuple[str, int, int, float]], Damage]) -> None:
    lines = ["\t".join(map(str, row)) for row in case[0]]
    data = case[1].apply(DOCUMENTS + "\n".join([*lines, ""]).encode())
    outcome(lambda: parse_documents(data.decode(errors="replace"), "documents.tsv"))


def samples(folder: Path, damage: Damage) -> None:
    path = folder / "eval.md"
    path.write_bytes(damage.apply(PAGE))
    assert read_samples(path) is not None


SURFACES = (
    Surface("report table", damages, table, 40),
    Surface("documents.tsv", st.tuples(rows, damages), documents, 40),
    Surface("samples", damages, samples, 20),
)
