"""``report.html``: one page to read and print, which loads nothing from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from model_zoo.notice import NOTICE
from slides.cells import Cells
from slides.regions import Region, Rule
from slides.runfile import Run
from slides.summary import reasons, states, unread

MAX_ROWS = 40


def _figure(value: float) -> str:
    """Three digits, and thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


_templates = Environment(
    loader=PackageLoader("slides"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["figure"] = _figure


def report_html(run: Run, cells: Cells, regions: Sequence[Region], rule: Rule, heatmap: bytes) -> bytes:
    """The report of a run.

    Args:
        heatmap: the PNG file that is shown in it; behind a click where the slide is out of scope.
    """
    page = _templates.get_template("report.html").render(
        run=run,
        rule=rule,
        notice=NOTICE,
        regions=regions[:MAX_ROWS],
        more=max(0, len(regions) - MAX_ROWS),
        area=sum(region.area_mm2 for region in regions),
        unread=unread(cells),
        states=states(run, cells),
        reasons=reasons(run, cells),
        picture=b64encode(heatmap).decode(),
    )
    return page.encode()
