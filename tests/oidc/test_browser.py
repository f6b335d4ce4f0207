"""Signing in and out in Chromium, where the provider is another site."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.oidc.conftest import Site


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A page of a new browser; nothing may have gone wrong on Rosette's pages."""
    context = browser.new_context(base_url=site.rosette.url)
    context.route("https://**", lambda route: route.abort())  # a font of the provider's pages
    page = context.new_page()
    page.set_default_timeout(120_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" and _ours(page, site) else None)
    yield page
    context.close()
    assert [error for error in errors if "status of 403 " not in error] == []


def _ours(page: Page, site: Site) -> bool:
    return page.url.startswith(site.rosette.url)


def sign_in(page: Page, account: str) -> None:
    page.get_by_role("link", name="Sign in with your organization").click()
    page.get_by_placeholder("Enter any login").fill(account)
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def barriers(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [each["id"] for each in found if each["impact"] in {"serious", "critical"}]


def test_a_person_signs_in_and_out(page: Page, site: Site) -> None:
    page.goto("/cases?decision=review")
    assert barriers(page) == []
    expect(page.get_by_label("Your key")).to_be_visible()
    sign_in(page, "root")
    page.wait_for_url(f"{site.rosette.url}/cases?decision=review")
    expect(page.locator(".who")).to_have_text("Root")
    page.reload()
    page.get_by_role("link", name="Keys").click()
    people = page.get_by_role("region", name="People")
    expect(people.get_by_role("row", name=re.compile("Root"))).to_contain_text("may sign in")
    assert barriers(page) == []
    people.get_by_role("link", name="Disable Root …").click()
    expect(page.get_by_text("This is you: you will be signed out.")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{site.provider.issuer}/session/end**")
    page.get_by_role("button", name="Yes, sign me out").click()
    expect(page.get_by_text("You have signed out.")).to_be_visible()
    page.goto("/keys")
    assert page.url.startswith(f"{site.rosette.url}/login")


def test_a_person_without_a_role_is_told_whom_to_ask(page: Page) -> None:
    page.goto("/login")
    sign_in(page, "guest")
    expect(page.get_by_role("heading", name="The sign-in was refused")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("ask those who manage your account there")
    assert barriers(page) == []
    page.get_by_role("link", name="Continue").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
