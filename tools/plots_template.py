"""Let `dvc plots` draw without a network: python -m tools.plots_template

DVC's pages fetch Vega from a CDN. This writes a page template with Vega inside, and names it in the
configuration of this clone.
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from gpt.common.errors import run_stage
from gpt.common.files import write_text

NAME = "plots.html"  # in .dvc
VEGA_LITE = "5.20"  # DVC writes specifications for version 5
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
{refresh_tag}
<title>Plots</title>
<style>body {font: 15px system-ui, sans-serif; margin: 2rem} table {border-spacing: 1rem}</style>
<script>VEGA</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the template. Raises UserError outside a project."""
    parser = argparse.ArgumentParser(prog="python -m tools.plots_template", description=__doc__)
    parser.parse_args(arguments)
    from gpt.report.project import open_project  # here, since DVC takes a second to import

    with closing(open_project(Path())) as repo:
        write_text(Path(repo.dvc_dir) / NAME, page())
        with repo.config.edit("local") as config:
            config.setdefault("plots", {})["html_template"] = NAME


def page() -> str:
    """The template, for DVC to put its plots into."""
    import vl_convert

    code: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)
    return PAGE.replace("VEGA", code.replace("</script", "<\\/script"))


if __name__ == "__main__":
    run_stage(main)
