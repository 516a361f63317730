"""What a real browser, Debian's chromium, shows of a page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PROBE = """<script>
let errors = 0; window.onerror = () => { errors += 1; };
window.onload = () => {
  const figures = [...document.querySelectorAll('figure svg')];
  const seen = figures.filter(figure => figure.getBoundingClientRect().width > 200
    && figure.querySelectorAll('use, path').length > 8);
  parent.document.title = JSON.stringify({
    errors, width: window.innerWidth, figures: figures.length, seen: seen.length,
    fits: document.documentElement.scrollWidth <= window.innerWidth,
    ground: getComputedStyle(document.body).backgroundColor});
};
</script></head>"""


def look(page: str, folder: Path, width: int, *, dark: bool) -> dict[str, Any]:
    """Give what a window of that width shows: figures, whether all fits, the ground's colour.

    A figure is seen when it is there at some width and has marks beside its axes.
    """
    assert CHROMIUM
    path = folder / "page.html"
    # In a frame, as chromium makes no window narrower than 500 pixels.
    framed = escape(page.replace("</head>", PROBE))
    path.write_text(f'<iframe style="width: {width}px; border: 0" srcdoc="{framed}"></iframe>')
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    options += [f"--user-data-dir={folder}/profile", "--window-size=2000,2000"]
    options += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    done = subprocess.run(
        [CHROMIUM, *options, path.as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    [title] = re.findall("<title>(.*?)</title>", done.stdout)
    found: dict[str, Any] = json.loads(unescape(title))
    return found
