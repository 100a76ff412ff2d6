"""What the tests of HTML pages look at: a parsed page, and that it is safe and whole."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "img"}
LOADERS = {"script", "link", "img", "image", "iframe", "object", "embed", "video", "audio", "base"}


@dataclass
class Page(HTMLParser):
    html: str
    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    text: str = ""

    def __post_init__(self):
        super().__init__(convert_charrefs=True)
        self.feed(self.html)
        self.close()
        self.words = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def check(page: Page, links: tuple[str, ...] = (), pictures: int = 0) -> None:
    """The page is one file, does nothing, and can be read by everyone.

    `pictures` is the number of its figures that are no drawings but hold images or words.
    """
    assert not page.open
    assert not (LOADERS - {"img"} if pictures else LOADERS) & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert len(page.values("src")) == len(page.values("alt")) == page.tags.count("img")
    assert all(source.startswith("data:image/png;base64,") for source in page.values("src"))
    assert not re.search(r"https?://|@import|url\((?!#)", page.html)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for href in page.values("href"):
        assert href in links or (href.startswith("#") and href[1:] in ids)
    for label in page.values("aria-labelledby"):
        assert label in ids
    for target in re.findall(r"url\(#([^)]*)\)", page.html):
        assert target in ids
    assert page.tags.count("svg") == page.values("role").count("img")
    assert page.tags.count("svg") == page.tags.count("title") - 1
    assert page.tags.count("table") == page.tags.count("caption")
    assert page.tags.count("figure") == page.tags.count("figcaption")
    assert page.tags.count("figure") == page.tags.count("svg") + pictures
    assert "var(--ink)" in page.html or not page.tags.count("svg")
    assert not re.search(r"#010[12]", page.html), "a colour of the drawing stayed"
