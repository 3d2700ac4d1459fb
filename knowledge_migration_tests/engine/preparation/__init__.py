"""Phase 0."""
