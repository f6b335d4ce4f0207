"""First paint of each page of a running server in Chromium, and the bytes it loads.

    python benchmarks/pages.py http://127.0.0.1:8000 ~/.local/share/rosette/admin.key

Signs in with the key in the file, and loads each page 20 times, each in a fresh browser context without a cache.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, sync_playwright

PAGES = ("/login", "/", "/ui/slides", "/cases", "/models", "/keys", "/audit", "/status")
REPEATS = 20
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
PAINT = "() => performance.getEntriesByName('first-paint')[0].startTime"


def signed_in(browser: Browser, url: str, key: str) -> str:
    """The session's cookie."""
    with browser.new_context(base_url=url) as context:
        page = context.new_page()
        page.goto("/login")
        page.fill("#key", key)
        page.press("#key", "Enter")
        page.wait_for_url(f"{url}/")
        return str(context.cookies()[0].get("value"))


def load(browser: Browser, url: str, path: str, cookie: str) -> tuple[float, int]:
    """Milliseconds to the first paint, and bytes of the responses' bodies."""
    with browser.new_context(base_url=url) as context:
        context.add_cookies([{"name": "rosette_session", "value": cookie, "url": url}])
        page = context.new_page()
        sizes: list[int] = []
        page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))
        page.goto(path, wait_until="networkidle")
        return float(page.evaluate(PAINT)), sum(sizes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("keyfile", type=Path)
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        cookie = signed_in(browser, arguments.url, arguments.keyfile.read_text(encoding="ascii").strip())
        for path in PAGES:
            found = [load(browser, arguments.url, path, cookie) for _ in range(REPEATS)]
            times = [milliseconds for milliseconds, _ in found]
            weight = max(size for _, size in found)
            print(
                f"{path:8}  first paint {median(times):5.0f} ms, slowest {max(times):5.0f} ms  {weight / 1000:6.1f} kB"
            )
        browser.close()
