"""The recorded results: of each section those of its last run, all on one machine at one size."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.results import Findings, Row
from gpt.common.errors import UserError
from gpt.common.files import read_json, write_json

Facts = Mapping[str, Any]
SECTIONS = "sections"
OF_A_RUN = ("date", "revision", "uncommitted_changes", "rounds")  # which sections may differ in


@dataclass(frozen=True)
class Record:
    """What all sections have in common, and each section's run and findings."""

    facts: dict[str, Any]
    runs: dict[str, dict[str, Any]]
    findings: dict[str, Findings]

    def added(self, section: str, found: Findings, facts: Facts) -> "Record":
        """With a section measured anew under `facts`.

        The others stay if they were measured on the same machine, by the same versions and at the
        same sizes.
        """
        common = {name: value for name, value in facts.items() if name not in OF_A_RUN}
        run = {name: facts[name] for name in OF_A_RUN}
        if any(self.facts.get(name, value) != value for name, value in common.items()):
            return Record(common, {section: run}, {section: found})
        return replace(
            self,
            facts=self.facts | common,
            runs=self.runs | {section: run},
            findings=self.findings | {section: found},
        )

    def write(self, path: Path) -> None:
        """Write it: common facts and all figures flat, then each section's run, rows and names."""
        figures: dict[str, Any] = {}
        sections = {}
        for name, found in self.findings.items():
            figures |= rounded(found)
            sections[name] = self.runs[name] | {
                "figures": list(found.figures),
                "rows": [asdict(row) for row in found.rows],
                "absent": found.absent,
            }
        write_json(path, self.facts | figures | {SECTIONS: sections})


def read_record(path: Path) -> Record:
    """What `Record.write` wrote; nothing, where there is no such file. Raises UserError."""
    stored = read_json(path) if path.is_file() else {}
    if SECTIONS not in stored:
        return Record({}, {}, {})
    try:
        return _parsed(stored)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"not as make bench wrote it, {path}, delete it") from None


def _parsed(stored: dict[str, Any]) -> Record:
    sections: dict[str, Any] = stored.pop(SECTIONS)
    runs, findings = {}, {}
    for name, of in sections.items():
        runs[name] = {key: of[key] for key in OF_A_RUN}
        figures = {figure: stored.pop(figure) for figure in of["figures"]}
        findings[name] = Findings([Row(**row) for row in of["rows"]], figures, of["absent"])
    return Record(stored, runs, findings)


def rounded(findings: Findings) -> dict[str, float | bool]:
    """The figures in the digits that mean something."""
    return {
        name: value if isinstance(value, bool) else float(f"{value:.4g}")
        for name, value in findings.figures.items()
    }
