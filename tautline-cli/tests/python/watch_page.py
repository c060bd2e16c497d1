"""Opens the page of `tautline watch` in headless Chromium, and checks what a person would see.

Usage: watch_page.py URL FOLDER COMMAND... COMMAND starts the server at URL again. Prints "skipped: ..." if there is no browser.
"""

import ctypes
import json
import pathlib
import shutil
import signal
import subprocess
import sys

from playwright.sync_api import sync_playwright

url, folder, command = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if chromium is None:
    print("skipped: there is no Chromium")
    sys.exit()


def die_with_parent():
    """If this script is killed, its server must not stay behind (Linux: PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def start():
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
    line = server.stderr.readline()
    assert "watch it at" in line, line
    return server


def stop(server):
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 0


# What the page shows beside what the endpoint of the statistics tells, both of the same snapshot.
COMPARE = """async () => {
  for (let tries = 0; tries < 50; tries += 1) {
    const found = await (await fetch('statistics')).json();
    if (String(found.number) === document.documentElement.dataset.number) {
      const shown = [...document.querySelectorAll('section')].map((section) => Object.fromEntries(
        [...section.querySelectorAll('[data-tile]')].map((tile) => [tile.dataset.tile,
          { raw: tile.dataset.value, text: tile.firstChild.textContent }])));
      const states = [...document.querySelectorAll('[data-is=state]')].slice(0, shown.length).map((badge) => badge.textContent);
      return { found, shown, states };
    }
    await new Promise((done) => setTimeout(done, 20));
  }
  return null;
}"""

server = start()
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    bytes_of_page = {}
    for scheme in ("light", "dark"):
        for width, height in ((375, 812), (1440, 900)):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            problems, outside = [], []
            page.on("console", lambda message: problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("request", lambda request: outside.append(request.url) if not request.url.startswith(url) else None)
            page.on("response", lambda got: bytes_of_page.update({got.url: int(got.headers.get("content-length", 0))}))
            policy = page.goto(url).headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy, policy
            page.wait_for_selector("[data-tile]")
            page.wait_for_selector("section:nth-of-type(2) [data-is=rates] canvas")
            page.screenshot(path=folder / f"watch-{scheme}-{width}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, "it is wider than the screen"
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            brightness = sum(int(part) for part in background[4:-1].split(","))
            assert (brightness > 384) == (scheme == "light"), (scheme, background)

            same = page.evaluate(COMPARE)
            assert same, "no snapshot of the page was that of the endpoint"
            assert len(same["shown"]) == len(same["found"]["links"]) == 2, same
            for link, shown, state in zip(same["found"]["links"], same["shown"], same["states"]):
                statistics = link["statistics"]
                for tile, value in {
                    "messages in": statistics["messages_received"],
                    "messages out": statistics["messages_sent"],
                    "datagrams lost": statistics["lost"],
                    "round trip, p50": link["rtt"]["p50_us"],
                    "round trip, p99": link["rtt"]["p99_us"],
                    "round trip, max": link["rtt"]["max_us"],
                    "age on arrival": link["age_us"],
                    "clock offset": link["clock_offset_us"],
                    "offset error": link["clock_offset_error_us"],
                    "path size": link["path_mtu"],
                }.items():
                    raw = shown[tile]["raw"]
                    assert (raw == "" if value is None else float(raw) == value), (tile, raw, value)
                assert shown["datagrams lost"]["text"].replace(",", "") == str(statistics["lost"]), shown
                assert shown["path size"]["text"].replace(",", "") == f"{link['path_mtu']} B", shown
                assert state == link["state"] == "connected", state
            assert not problems and not outside, (problems, outside)

            # The keys.
            page.keyboard.press("t")
            other = "light" if scheme == "dark" else "dark"
            assert page.evaluate("document.documentElement.dataset.theme") == other
            page.keyboard.press("2")
            assert page.evaluate("document.activeElement.dataset.link") == "1"
            page.keyboard.press("p")
            assert page.inner_text("#status") == "paused"
            page.keyboard.press("p")
            page.keyboard.press("?")
            assert page.evaluate("document.getElementById('keys').open")
            page.keyboard.press("Escape")
            if (scheme, width) != ("dark", 1440):
                context.close()
    # A stranger's name cannot look like another address.
    shown = page.evaluate("""() => {
      const found = structuredClone(latest);
      found.links[0].name = 'a\\nb\\u202ec';
      found.links[0].peers[0].name = 'x\\u202e1.0.0.721\\u2028 \\u05d0';
      take(found);
      const cell = document.querySelector('[data-is=peers] td');
      return [document.querySelector('[data-is=title]').textContent, cell.firstChild.tagName, cell.textContent];
    }""")
    assert shown[:2] == ["a\\u000ab\\u202ec", "BDI"], shown
    assert shown[2].startswith("x\\u202e1.0.0.721\\u2028 \u05d0 127.0.0.1:"), shown
    # The server ends and comes back: so does the page.
    page.wait_for_selector("#status.good")
    stop(server)
    page.wait_for_selector("#status.bad")
    server = start()
    page.wait_for_selector("#status.good")
    page.wait_for_selector("section:nth-of-type(2) canvas")
    browser.close()
stop(server)
print(json.dumps({"bytes": sum(bytes_of_page.values()), "files": len(bytes_of_page)}))
