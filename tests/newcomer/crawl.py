"""Every page of the built site in a real browser: nothing cut off, no dead link, no error.

    make docs && make crawl          # or: python tests/newcomer/crawl.py site --shots results/site

Each page is opened in headless Chromium at 390 and 1,280 px, light and dark. It may not scroll sideways; what is wider
than the page (a table, code) must scroll within itself and say so by a bar; nothing stands outside of what scrolls;
pictures load; the console has no error; links within the site lead to a page, and to a place on it, that are there.
Needs Chromium with its driver (apt-get install chromium chromium-driver) and selenium.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from selenium import webdriver

WIDTHS = {"phone": 390, "desktop": 1280}
SCHEMES = ("light", "dark")
HEIGHT = 900
PATIENCE_S = 900

LOOK = """
const done = arguments[0];
for (const i of document.images) i.loading = 'eager';
const loaded = [...document.images].map(i => i.decode().catch(() => 0));
// the theme wraps tables when the page is there, and lays out again after a change of width
Promise.all([document.fonts.ready, ...loaded]).then(() => setTimeout(() => done(look()), 300));
function look() {
const width = document.documentElement.clientWidth, found = [];
const text = e => (e.textContent || e.src || '').trim().slice(0, 60);
const name = e => e.tagName.toLowerCase() + (e.id ? '#' + e.id : '') + ' ' + text(e);
const scrolls = e => {
  for (; e && e !== document.body; e = e.parentElement) {
    const how = getComputedStyle(e).overflowX;
    if (how === 'auto' || how === 'scroll') return true;
    if ((how === 'hidden' || how === 'clip') && e.closest('.md-content') === null) return true;
  }
  return false;
};
if (document.documentElement.scrollWidth > width + 1)
  found.push('the page scrolls sideways: ' + document.documentElement.scrollWidth + ' of ' + width + ' px');
for (const e of document.querySelectorAll('.md-content :is(table, pre, code, img, svg, p, li, h1, h2, h3)')) {
  const box = e.getBoundingClientRect();
  if (box.width === 0 || e.closest('svg svg')) continue;
  if (box.right > width + 1 && !scrolls(e)) found.push('cut off at ' + Math.round(box.right) + ' px: ' + name(e));
  const how = getComputedStyle(e);
  if (['hidden', 'clip'].includes(how.overflowX) && e.scrollWidth > e.clientWidth + 1 && how.display !== 'inline')
    found.push('clipped: ' + name(e));
}
for (const e of document.querySelectorAll('img'))
  if (e.complete && e.naturalWidth === 0) found.push('a picture that does not load: ' + e.src);
return {
  found,
  height: document.documentElement.scrollHeight,
  links: [...document.querySelectorAll('a[href]')].map(a => a.href),
  ids: [...document.querySelectorAll('[id], [name]')].map(e => e.id || e.getAttribute('name')),
};
}
"""


def main() -> None:
    """Look at every page; end with status 1 if anything is wrong."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("site", type=Path, help="the folder that `make docs` built")
    cli.add_argument("--shots", type=Path, help="folder for a picture of each page")
    cli.add_argument("--page", action="append", help="only pages with this in their name")
    a = cli.parse_args()
    pages = sorted(str(path.relative_to(a.site)) for path in a.site.rglob("*.html"))
    pages = [page for page in pages if page != "404.html" and (not a.page or any(one in page for one in a.page))]
    if not pages:
        sys.exit(f"no pages in {a.site}: run `make docs` first")
    wrong: list[str] = []
    with served(a.site) as root, browser() as driver:
        seen: dict[str, dict[str, Any]] = {}
        for scheme in SCHEMES:
            media = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
            for page in pages:
                print(f"{page}, {scheme}", file=sys.stderr, flush=True)
                wrong += [f"{page}, {scheme}: {one}" for one in opened(driver, urljoin(root, page), scheme)]
                for device, width in WIDTHS.items():
                    size = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
                    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                    seen[page] = driver.execute_async_script(LOOK)
                    wrong += [f"{page}, {device}, {scheme}: {one}" for one in seen[page]["found"]]
                    if a.shots:
                        shoot(driver, width, seen[page]["height"], a.shots / f"{device}-{scheme}" / page)
        if not a.page:
            wrong += dead(root, a.site, seen)
    print(
        "\n".join(dict.fromkeys(wrong)) or f"{len(pages)} pages, each at {len(WIDTHS)} widths, light and dark: all well"
    )
    sys.exit(bool(wrong))


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve the folder on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium that keeps its console."""
    options = webdriver.ChromeOptions()
    for switch in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars=false",
        "--disable-dev-shm-usage",
    ):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    # without one it would look for a driver on the network
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    # however busy the machine is
    driver.set_page_load_timeout(PATIENCE_S)
    driver.set_script_timeout(PATIENCE_S)
    driver.command_executor.client_config.timeout = PATIENCE_S
    try:
        yield driver
    finally:
        driver.quit()


def opened(driver: Any, url: str, scheme: str) -> list[str]:
    """Open a page; what its console and its colours say."""
    driver.get(url)
    # the theme keeps the scheme of the first visit
    if driver.execute_script("const kept = localStorage.length; localStorage.clear(); return kept"):
        driver.get(url)
    shown = driver.execute_script("return document.body.getAttribute('data-md-color-scheme')")
    wrong = [] if shown == {"light": "default", "dark": "slate"}[scheme] else [f"the scheme is {shown}"]
    levels = ("SEVERE", "WARNING")
    return wrong + [f"console: {one['message'][:200]}" for one in driver.get_log("browser") if one["level"] in levels]


def shoot(driver: Any, width: int, height: int, path: Path) -> None:
    """Save pictures of a page, 3,000 px each from the top."""
    import base64

    for part in range(-(-height // 3000)):
        clip = {"x": 0, "y": 3000 * part, "width": width, "height": min(3000, height - 3000 * part), "scale": 1}
        taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
        file = path.with_name(f"{path.stem}-{part}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(taken["data"]))


def dead(root: str, site: Path, seen: dict[str, dict[str, Any]]) -> list[str]:
    """Links within the site that lead nowhere."""
    wrong = []
    for page, found in seen.items():
        for link in found["links"]:
            if not link.startswith(root):
                continue
            whole, fragment = urldefrag(link)
            target = unquote(urlsplit(whole).path).lstrip("/") or "index.html"
            target += "index.html" if target.endswith("/") else ""
            if not (site / target).is_file():
                wrong.append(f"{page}: a dead link to {json.dumps(link)}")
            elif fragment and target in seen and unquote(fragment) not in seen[target]["ids"]:
                wrong.append(f"{page}: no place {json.dumps(fragment)} on {target}")
    return wrong


if __name__ == "__main__":
    main()
