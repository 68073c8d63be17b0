"""The places where a file comes in, each with its strange cases; the fuzzer runs them."""

from tests.robustness.surfaces import (
    checkpoint,
    corpora,
    data_files,
    duplicates,
    hf,
    model,
    params,
    report,
)

SURFACES = (
    *params.SURFACES,
    *corpora.SURFACES,
    *data_files.SURFACES,
    *checkpoint.SURFACES,
    *model.SURFACES,
    *hf.SURFACES,
    *duplicates.SURFACES,
    *report.SURFACES,
)
