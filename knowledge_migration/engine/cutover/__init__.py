"""Phase 4, the cutover (strategy §6): its state, the gates, the readiness of a stage, the promotion."""
