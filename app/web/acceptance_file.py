"""The report of an acceptance test as one HTML file, to print or to keep."""

from __future__ import annotations

from html import escape

from app.web.assets import ASSETS
from app.web.rendering import render
from app.web.strings import t
from model_zoo.acceptance import AcceptanceReport


def acceptance_file(report: AcceptanceReport) -> str:
    """The report with its style sheet and without scripts; it loads nothing."""
    title = escape(f"{t('acceptance.title')}: {report.model.name} {report.model.version}")
    style = ASSETS["rosette.css"].data.decode()
    body = render("_acceptance.html", report=report, tested_at=None, tested_by="")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<main>\n<h1>{title}</h1>\n<section class="panel stack">\n{body}\n</section>\n'
        f"<p>{escape(report.notice)}</p>\n</main>\n</body>\n</html>\n"
    )
