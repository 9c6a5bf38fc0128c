"""The page that ``cosxfer form`` writes: one self-contained HTML file that also works without scripts."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from urllib.parse import urlsplit

from cosxfer.figures import human_bytes

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 36rem; padding: 0 1rem; }
form > * { display: block; margin: 1rem 0; }
input, button { font: inherit; }
button { padding: .5rem 1rem; }
button[hidden] { display: none; }
progress { width: 100%; height: 1.25rem; }
:focus-visible { outline: 3px solid Highlight; outline-offset: 2px; }
#error { border-left: .3rem solid #c0392b; padding-left: .8rem; }
#error:empty { display: none; }
"""

_SCRIPT = """
"use strict"; {
const settings = JSON.parse(document.getElementById("settings").textContent);
const form = document.querySelector("form");
const file = document.getElementById("file");
const send = document.getElementById("send");
const cancel = document.getElementById("cancel");
const bar = document.getElementById("bar");
const status = document.getElementById("status");
const error = document.getElementById("error");
const type = form.elements["Content-Type"];
let request = null;

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (count >= 1024 && unit < 3) { count /= 1024; unit += 1; }
  return (unit ? count.toFixed(1) : count) + " " + units[unit];
}

function finish(message, problem) {
  request = null;
  send.disabled = file.disabled = false;
  cancel.hidden = true;
  status.textContent = message;
  error.textContent = problem || "";
  document.title = (problem ? "Failed: " : "") + settings.title;
}

function refusal(response) {
  const document = new DOMParser().parseFromString(response.responseText, "application/xml");
  const text = (name) => (document.querySelector("Error > " + name) || {}).textContent || "";
  if (text("Message").includes("expired")) return "This form has expired. Ask for a new one.";
  if (text("Code") === "EntityTooLarge") return "The file is larger than this form allows.";
  const reason = [text("Code"), text("Message")].filter(Boolean).join(": ");
  return "The server refused the file (" + response.status + (reason ? ", " + reason : "") + ").";
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = file.files[0];
  if (!chosen) return finish("", "Choose a file first.");
  if (chosen.size > settings.maxBytes)
    return finish("", "The file has " + bytes(chosen.size) + "; at most " + bytes(settings.maxBytes) + " are allowed.");
  if (Date.now() > settings.expiresAt * 1000) return finish("", "This form has expired. Ask for a new one.");
  type.value = chosen.type || "application/octet-stream";
  const data = new FormData(form);
  send.disabled = file.disabled = true;
  cancel.hidden = false;
  error.textContent = "";
  status.textContent = "Sending " + chosen.name + " …";
  bar.value = 0;
  request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.upload.addEventListener("progress", (progress) => {
    if (!progress.lengthComputable) return;
    bar.value = progress.loaded / progress.total;
    bar.textContent = Math.floor(bar.value * 100) + " %";
    document.title = bar.textContent + " · " + settings.title;
  });
  request.addEventListener("load", (loaded) => {
    const response = loaded.target;
    if (response.status >= 200 && response.status < 300) {
      bar.value = 1;
      finish(chosen.name + " (" + bytes(chosen.size) + ") was stored.");
      form.reset();
    } else {
      finish("", refusal(response));
    }
  });
  request.addEventListener("error", () => finish("", "The server cannot be reached or refuses this page."
    + " Check the network and the bucket's CORS rules."));
  request.addEventListener("abort", () => finish("Cancelled; nothing was stored."));
  request.send(data);
});

cancel.addEventListener("click", () => { if (request) request.abort(); });
}
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<form action="{url}" method="post" enctype="multipart/form-data">
{fields}
<label for="file">File, at most {largest}</label>
<input id="file" name="file" type="file" required aria-describedby="until">
<p id="until">It is stored as <code>{key}</code>.
This form can be used until <time datetime="{until}">{until_text}</time>.</p>
<div><button id="send" type="submit">Upload</button> <button id="cancel" type="button" hidden>Cancel</button></div>
<label for="bar">Progress</label>
<progress id="bar" max="1" value="0"></progress>
<p id="status" role="status"></p>
<p id="error" role="alert"></p>
</form>
</main>
<script type="application/json" id="settings">{settings}</script>
<script>{script}</script>
</body>
</html>
"""


def render(*, url: str, fields: Mapping[str, str], title: str, expires_at: float, max_bytes: int) -> str:
    """Return the page of a form that posts ``fields`` and a file to ``url``. ``expires_at`` is in Unix seconds."""
    until = datetime.fromtimestamp(int(expires_at), UTC)
    address = urlsplit(url)
    origin = f"{address.scheme}://{address.netloc}"
    settings = json.dumps({"title": title, "expiresAt": int(expires_at), "maxBytes": max_bytes})
    policy = (
        f"default-src 'none'; base-uri 'none'; style-src '{_digest(_STYLE)}'; script-src '{_digest(_SCRIPT)}'; "
        f"connect-src {origin}; form-action {origin}"
    )
    return _PAGE.format(
        policy=escape(policy),
        title=escape(title),
        style=_STYLE,
        script=_SCRIPT,
        url=escape(url),
        fields="\n".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
        ),
        largest=human_bytes(max_bytes),
        key=escape(fields["key"].replace("${filename}", "…")),
        until=until.isoformat(),
        until_text=until.strftime("%Y-%m-%d %H:%M UTC"),
        # "</script>" in a title must not end the element.
        settings=settings.replace("<", "\\u003c"),
    )


def _digest(text: str) -> str:
    """Return the hash by which the page's Content-Security-Policy allows a script or a style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
