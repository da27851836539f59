"""Takes the pictures of the dashboard that docs/ shows: `python -m tests.browser.dashboard_pictures --runs DIR`."""

from __future__ import annotations

import argparse
import base64
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from tests.browser.dashboard import Dashboard, serving
from tests.browser.page import chromium
from tests.requires import need
from tests.usage_log import write_usage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder of run folders, two of them with answers")
    parser.add_argument("--home", type=Path, help="home folder whose log is shown; by default a made one")
    parser.add_argument("--run", default="", help="the run of the question; by default the newest")
    parser.add_argument("--query", default="", help="id of the question; by default the one that changed most")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--width", type=int, default=1400)
    chosen = parser.parse_args()
    question = {name: value for name, value in (("run", chosen.run), ("query", chosen.query)) if value}
    with tempfile.TemporaryDirectory() as made, chromium(*need.chromium()) as driver:
        if chosen.home is None:
            write_usage(Path(made))
        with serving(Path(made), chosen.runs.resolve(), (chosen.home or Path(made)).resolve()) as url:
            visit = Dashboard(driver, url)
            visit.page.prefer(color_scheme="light", reduced_motion="reduce")
            for name, title, query, charts, height in (
                ("runs", "", {}, 1, 950),
                ("query", "Questions", question, 0, 1400),
                ("usage", "Users", {}, 3, 1200),
            ):
                visit.page.resize(chosen.width, height)
                visit.open(title, f"?{urlencode(query)}")
                visit.page.until(lambda wanted=charts: visit.charts() >= wanted)  # type: ignore[misc]
                shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
                (chosen.out / f"dashboard-{name}.png").write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main()
