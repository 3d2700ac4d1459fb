"""Phase 2, dual write (strategy §4): switching it on with proof, probing it, measuring it, taking it back."""
