"""Schema of the whole params.yaml, for presets, plans and the check before a run."""

from pathlib import Path
from typing import Any

from pydantic import model_validator

from gpt.common.params import parse_section, read_yaml
from gpt.data.download_params import DownloadParams
from gpt.data.tokenize_params import TokenizeParams
from gpt.eval.params import EvalParams
from gpt.hf.export_params import ExportParams
from gpt.hf.params import ImportParams
from gpt.parity.params import VerifyParams
from gpt.train.params import TrainingParams


class Params(TrainingParams):
    """Every section."""

    download: DownloadParams
    tokenize: TokenizeParams
    eval: EvalParams
    export_hf: ExportParams
    import_hf: ImportParams
    verify_logits: VerifyParams

    @model_validator(mode="after")
    def _stride_fits(self) -> "Params":
        if self.eval.stride > self.model.block_size:
            raise ValueError(
                f"eval.stride {self.eval.stride} is above model.block_size {self.model.block_size}"
            )
        return self


def load_params(path: Path) -> Params:
    """Read and check params.yaml. Raises UserError with the key, its value, what is allowed."""
    return parse_params(read_yaml(path), str(path))


def parse_params(value: dict[str, Any], where: str) -> Params:
    """Check an already parsed params.yaml. Raises UserError; `where` names its source."""
    return parse_section(value, Params, where)
