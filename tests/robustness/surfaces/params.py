"""Strange params.yaml."""

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from gpt.plan.params import load_params
from tests.robustness.cases import Surface, damages, outcome
from tests.support.imports import ROOT

WORDS = (
    *("3e-4", "1E3", "0o17", "017", "0x1F", "1_000", ".5", "+.inf", "-.inf", ".nan", "9" * 5000),
    *("yes", "No", "on", "TRUE", "~", "null", "2001-12-14", "12:30:45", "=", "<<", "*a", "&a 1"),
    *("[", "{", "]", "[1, 2", "{a: 1}", "'", '"\\x', "|", ">", "? a", "- a", "a: b", "%YAML 1.1"),
    *("!!python/object/apply:os.system [x]", "!!python/name:os.system", "!!int x", "!!bool x"),
    *("!!binary zz", "!!timestamp x", "!!float x", "!!set {a}", "!!omap [a: 1]", "!x y", "!!str"),
    *("\t", "\ufeff", "\x00", "\x07", "\u2028", "# x", "---", "...", "0x" + "f" * 9000, "é"),
    *(f"&{i} [*{i - 1}, *{i - 1}]" for i in range(1, 9)),
)
yaml_values = st.one_of(
    st.sampled_from(WORDS), st.integers().map(str), st.floats().map(repr), st.text(max_size=12)
)
yaml_lines = st.lists(
    st.tuples(st.integers(0, 90), st.sampled_from(["value", "insert", "drop", "twice"])), max_size=3
)


def params_yaml(folder: Path, case: Any) -> None:
    """The committed file with some lines changed and some bytes damaged: valid, or refused."""
    changes, values, damage = case
    lines = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()
    for (place, action), value in zip(changes, values, strict=False):
        at = place % len(lines)
        if action == "value":
            lines[at] = lines[at].split(":")[0] + ": " + value
        elif action == "insert":
            lines.insert(at, value)
        elif action == "drop":
            del lines[at]
        else:
            lines.insert(at, lines[at])
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    (folder / "params.yaml").write_bytes(data if damage is None else damage.apply(data))
    found = outcome(lambda: load_params(folder / "params.yaml"))
    if found is not None:
        model = found.model.model_dump()
        assert model["n_embd"] % model["n_head"] == 0


SURFACES = (
    Surface(
        "params.yaml",
        st.tuples(yaml_lines, st.lists(yaml_values, max_size=3), st.none() | damages),
        params_yaml,
        40,
    ),
)
