"""A topic's icon and colour, from the words of its name and then of its description: two tables and nothing else.

Icons are Heroicon names, colours upper-case #RRGGBB; both fit the columns of `topics` (50 and 7 characters).
"""

import re

DEFAULT_ICON = "FolderIcon"
DEFAULT_COLOR = "#64748B"

_WORD = re.compile(r"[^\W_]+")

_WORDS_OF_ICON = {
    "CodeBracketIcon": "code api sdk library function class python javascript typescript java rust golang ruby php kotlin "
    "swift compiler syntax refactor programming package module framework",
    "CommandLineIcon": "cli command shell bash zsh terminal console script powershell linux unix kubectl cron",
    "BugAntIcon": "bug crash error exception regression failure defect debug traceback",
    "ShieldCheckIcon": "security auth authentication authorization oauth permission vulnerability attack attacker jamming "
    "audit compliance firewall",
    "KeyIcon": "key keys password secret secrets token credential credentials encryption signature signatures cryptography "
    "multisig",
    "CircleStackIcon": "database postgres postgresql mysql sqlite mongodb redis sql schema migration index query backup",
    "ServerStackIcon": "server deployment deploy kubernetes docker infrastructure container cluster devops ansible node "
    "nodes terraform hosting",
    "CloudIcon": "cloud aws azure gcp s3 serverless",
    "GlobeAltIcon": "web website browser http https url internet network dns domain",
    "BoltIcon": "lightning performance speed latency cache benchmark optimization throughput lnd",
    "CurrencyDollarIcon": "payment payments price fee fees feerate money invoice invoices budget billing cost bitcoin wallet "
    "wallets coin finance",
    "ChartBarIcon": "analytics metric metrics statistics chart dashboard report monitoring",
    "BeakerIcon": "test tests testing qa experiment research science pytest simulation",
    "PaintBrushIcon": "design ui ux css style theme color layout logo font",
    "DevicePhoneMobileIcon": "mobile android ios phone app tablet",
    "ChatBubbleLeftRightIcon": "chat message messages conversation discussion slack telegram forum meeting",
    "EnvelopeIcon": "email mail newsletter newsletters smtp inbox",
    "BookOpenIcon": "documentation docs guide tutorial manual book reference wiki learning readme",
    "LanguageIcon": "translation language locale localization internationalization unicode",
    "UsersIcon": "user users team people community customer customers onboarding hiring",
    "CalendarIcon": "calendar schedule date deadline roadmap planning sprint milestone event",
    "ClockIcon": "time timeout timer timezone duration timelock delay",
    "CpuChipIcon": "ai ml model hardware cpu gpu memory neural learning robot embedded arduino firmware driver",
    "PuzzlePieceIcon": "plugin extension game games gaming integration addon",
    "RocketLaunchIcon": "release launch version startup rollout",
    "ArrowPathIcon": "sync synchronization replication retry update upgrade workflow pipeline ci build",
    "DocumentTextIcon": "document file files text pdf markdown json yaml xml csv format",
    "PhotoIcon": "image images photo picture video audio graphics media",
    "Cog6ToothIcon": "config configuration settings option options setup automation git",
    "MagnifyingGlassIcon": "search find lookup filter regex",
    "ShoppingCartIcon": "shop store order checkout product ecommerce",
    "LinkIcon": "link links blockchain chain channel channels",
    "MapIcon": "map location route routing geography gps",
    "ScaleIcon": "legal license law policy governance consensus",
    "QuestionMarkCircleIcon": "question questions faq help support",
    "LightBulbIcon": "idea ideas insight proposal concept",
}  # an icon's words are singular and plural only where both are common: a plural's "s" is taken off, too

_ICON_OF_WORD = {word: icon for icon, words in reversed(_WORDS_OF_ICON.items()) for word in words.split()}

_COLOR_OF_ICON = {
    "CodeBracketIcon": "#2563EB",
    "CommandLineIcon": "#334155",
    "BugAntIcon": "#DC2626",
    "ShieldCheckIcon": "#B91C1C",
    "KeyIcon": "#B45309",
    "CircleStackIcon": "#0E7490",
    "ServerStackIcon": "#0369A1",
    "CloudIcon": "#0284C7",
    "GlobeAltIcon": "#0D9488",
    "BoltIcon": "#CA8A04",
    "CurrencyDollarIcon": "#15803D",
    "ChartBarIcon": "#4F46E5",
    "BeakerIcon": "#7C3AED",
    "PaintBrushIcon": "#DB2777",
    "DevicePhoneMobileIcon": "#059669",
    "ChatBubbleLeftRightIcon": "#0891B2",
    "EnvelopeIcon": "#9333EA",
    "BookOpenIcon": "#A16207",
    "LanguageIcon": "#C026D3",
    "UsersIcon": "#EA580C",
    "CalendarIcon": "#E11D48",
    "ClockIcon": "#78716C",
    "CpuChipIcon": "#6D28D9",
    "PuzzlePieceIcon": "#65A30D",
    "RocketLaunchIcon": "#F97316",
    "ArrowPathIcon": "#16A34A",
    "DocumentTextIcon": "#475569",
    "PhotoIcon": "#BE185D",
    "Cog6ToothIcon": "#57534E",
    "MagnifyingGlassIcon": "#1D4ED8",
    "ShoppingCartIcon": "#C2410C",
    "LinkIcon": "#4338CA",
    "MapIcon": "#4D7C0F",
    "ScaleIcon": "#854D0E",
    "QuestionMarkCircleIcon": "#A21CAF",
    "LightBulbIcon": "#EAB308",
}


def icon_for(name: str, description: str = "") -> str:
    """The icon of the first word that has one, the name's words from its last (its head) on, then the description's."""
    for word in (*reversed(_words(name)), *_words(description)):
        icon = _ICON_OF_WORD.get(word) or _ICON_OF_WORD.get(word.removesuffix("s"))
        if icon:
            return icon
    return DEFAULT_ICON


def color_for(icon: str) -> str:
    """The icon's colour; the default for an icon without one."""
    return _COLOR_OF_ICON.get(icon, DEFAULT_COLOR)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
