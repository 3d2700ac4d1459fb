"""Every checkbox of the strategy, each with what shows it, or the word of the person who must judge it (strategy §11.1)."""
