"""How long tests wait until processes acknowledge flags: a timeout that is expected, and one that must not end."""

from knowledge_migration.settings import FenceSettings

BRIEF = FenceSettings(seconds=0.3, watch_seconds=0.3)
PATIENT = FenceSettings(seconds=120.0, watch_seconds=0.3)
