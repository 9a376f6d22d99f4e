"""A hook of mkdocs: links to files outside docs/ lead to the repository, or are plain text without one."""

import posixpath
import re
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+[^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """The text of a page with such links replaced."""

    def replaced(link: re.Match[str]) -> str:
        said, target = link.groups()
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), target))
        if path.startswith("docs/"):
            return link.group()
        return f"[{said}]({config.repo_url.rstrip('/')}/blob/main/{path})" if config.repo_url else said

    return LINK.sub(replaced, markdown)
