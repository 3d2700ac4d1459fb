"""What a browser remembers for its user: the theme, whether the tour was seen, whether single keys act. No secret, no right."""

from dataclasses import dataclass
from typing import Literal

from starlette.requests import HTTPConnection

COOKIE = "knowledge_preferences"
Theme = Literal["light", "dark", "auto"]
DARK: dict[str, bool | None] = {"light": False, "dark": True, "auto": None}


@dataclass
class Preferences:
    """Kept in a cookie that `pages.js` writes, so that a page comes in the right theme at once."""

    theme: Theme = "auto"
    tour_seen: bool = False
    keys: bool = True

    @property
    def dark(self) -> bool | None:
        """For NiceGUI: None is as the system has it."""
        return DARK[self.theme]

    @property
    def as_cookie(self) -> str:
        """The cookie's value."""
        return f"{self.theme}.{int(self.tour_seen)}.{int(self.keys)}"


def preferences_of(connection: HTTPConnection) -> Preferences:
    """What the browser remembers; the defaults where it is nothing that we wrote."""
    theme, *rest = connection.cookies.get(COOKIE, "").split(".")
    if theme not in DARK or len(rest) != 2 or not set(rest) <= {"0", "1"}:
        return Preferences()
    return Preferences(theme, rest[0] == "1", rest[1] == "1")  # type: ignore[arg-type]
