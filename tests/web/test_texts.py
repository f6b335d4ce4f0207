"""All texts of the pages are in one place."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter
from typing import get_args

import pytest

from app.web import strings
from app.web.strings import STRINGS, t
from model_zoo.notice import NOTICE
from model_zoo.reasons import Code
from tests.conftest import ROOT

WEB = ROOT / "app" / "web"
TEMPLATES = sorted((WEB / "templates").glob("*.html"))
SOURCES = sorted(WEB.glob("*.py"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_words(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    text = re.sub(r"\{% block kind %\}\w+\{% endblock %\}", "", text)  # a class of the body
    bare = re.sub(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", "", text, flags=re.DOTALL)
    bare = re.sub(r"<!doctype html>|<[^>]*>", "", bare)
    assert re.findall(r"[^\W\d_]{2,}", bare) == []
    attributes = re.findall(r'(?:title|alt|placeholder|aria-label)="([^"{}]+)"', text)
    assert attributes == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_style_and_no_script(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert re.findall(r"\sstyle=|<style|\son\w+=|javascript:|https?://|\|\s*safe", text) == []
    assert all("src=" in script for script in re.findall(r"<script[^>]*>", text))


def test_every_text_is_used_and_every_used_text_exists() -> None:
    everything = "".join(
        path.read_text(encoding="utf-8") for path in [*TEMPLATES, *SOURCES] if not path.name.endswith("strings.py")
    )
    named = set(re.findall(r'"([a-z_]+(?:\.[a-z_0-9]+)*)"', everything))
    composed = set(re.findall(r'"([a-z_.]+\.)" (?:~|%\})|f"([a-z_.]+\.)\{', everything))
    prefixes = (*[part for pair in composed for part in pair if part], "metric.", "problem.")
    plurals = {f"{name}.one" for name in named}
    unused = {name for name in STRINGS if name not in named | plurals and not name.startswith(prefixes)}
    assert unused == set()
    called = set(re.findall(r'\bt\("([^"]+)"[,)]', everything))
    assert called - set(STRINGS) == set()


def test_values_are_filled_in() -> None:
    for name, text in STRINGS.items():
        fields = {field for _, field, _, _ in Formatter().parse(text) if field is not None}
        assert "" not in fields
        assert t(name, **dict.fromkeys(fields, "★")).count("★") >= len(fields)
    with pytest.raises(KeyError):
        t("there is no such text")


def test_one_thing_is_not_said_in_the_plural() -> None:
    assert t("agreement.drawn.said", n=1) == "1 answer was drawn."
    assert t("agreement.drawn.said", n=2) == "2 answers were drawn."
    assert t("slides.page", number=1, pages=1, count="1") == "Page 1 of 1, 1 slide"
    assert t("slides.page", number=1, pages=1, count="1,001") == "Page 1 of 1, 1,001 slides"
    assert t("status.load.sum", answers=1, review=0) == "1 answer, 0 left to a person"
    singulars = {name for name in STRINGS if name.endswith(".one")}
    assert {name.removesuffix(".one") for name in singulars} <= set(STRINGS)


def test_every_reason_has_a_name_for_the_filter() -> None:
    assert {f"reason.{code}" for code in get_args(Code)} <= set(STRINGS)


def test_the_notice_is_the_answers_own() -> None:
    assert NOTICE not in STRINGS.values()
    assert "{{ notice }}" in (WEB / "templates" / "frame.html").read_text(encoding="utf-8")
    assert strings.titled("no-such-problem", "As in the API") == "As in the API"
