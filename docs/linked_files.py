"""A hook of MkDocs: files of the checkout that documents link to become part of the pages.

On disk and on a forge, `[the job](../deploy/rayjob.yaml)` leads out of docs/. Pages have nothing
there, so that file is copied to files/deploy/rayjob.yaml, and the link leads to it.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

LINK_OUT = re.compile(r"(\]\()\.\./([^)#\s]+)")


def on_files(files: Any, *, config: Any) -> Any:
    root = Path(config["docs_dir"]).parent
    linked = set()
    for page in files.documentation_pages():
        linked |= {found[2] for found in LINK_OUT.finditer(page.content_string)}
    for name in sorted(linked):
        if (root / name).is_file():
            content = (root / name).read_bytes()
            files.append(File.generated(config, place_of(name), content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return LINK_OUT.sub(lambda found: found[1] + place_of(found[2]), markdown)


def place_of(name: str) -> str:
    """Where a file is found among the pages. Documents become text, as they are not of the site."""
    return f"files/{name}.txt" if name.endswith(".md") else f"files/{name}"
