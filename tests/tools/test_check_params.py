"""The whole of params.yaml is checked before a run."""

from pathlib import Path

import pytest

from gpt.common.errors import UserError
from tests.support.imports import ROOT
from tools.check_params import main

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")


def test_the_committed_params_pass(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--params", str(ROOT / "params.yaml")])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("optimizer: muon ", "optimizer: muom ", "train.optimizer is 'muom', input should be"),
        ("top_k: 50 ", "topk: 50 ", "eval.topk is not a parameter, did you mean top_k?"),
        ("stride: 32\n", "stride: 320\n", "eval.stride 320 is above model.block_size 168"),
        ("greedy_tokens: 10\n", "greedy_tokens: 0\n", "verify_logits.greedy_tokens is 0"),
        ("download:\n", "downloads:\n", "downloads is not a parameter, did you mean download?"),
    ],
)
def test_a_fault_in_any_section_is_found(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert TEXT.count(old) == 1
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(UserError) as error:
        main(["--params", str(path)])
    assert said in str(error.value)
