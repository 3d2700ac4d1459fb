"""Phase 2, dual write (strategy §4): the switch and the fence."""
