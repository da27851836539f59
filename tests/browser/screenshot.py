"""Takes the picture of the page that the README shows: `python -m tests.browser.screenshot URL docs/screenshot.png`."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

from tests.browser.page import Page, chromium
from tests.requires import need

QUESTION = "How do I write my own migration operation?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="where `riddle up` listens")
    parser.add_argument("out", type=Path, help="the PNG to write")
    parser.add_argument("--query", default=QUESTION)
    parser.add_argument("--collection", default="docs")
    parser.add_argument("--language", choices=("en", "zh"), default="en")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=860)
    parser.add_argument("--scale", type=float, default=1.5, help="pixels of the picture for each of the page")
    parser.add_argument("--explain", action="store_true", help="with the first passage's ranks explained")
    chosen = parser.parse_args()
    with chromium(*need.chromium()) as driver:
        page = Page(driver, chosen.url.rstrip("/"))
        page.resize(chosen.width, chosen.height, chosen.scale)
        page.prefer(color_scheme=chosen.scheme, reduced_motion="reduce")
        page.open()
        if chosen.language == "zh":
            page.find("#language").click()
        page.search(chosen.query, answer=True, collection=chosen.collection)
        page.until(lambda: page.all("#answer[data-state=done], #answer[data-state=failed]"))
        if page.all(".prose .chip"):
            page.hover(".prose .chip")
        if chosen.explain:
            page.js("document.querySelector('.result .why').click()")
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main()
