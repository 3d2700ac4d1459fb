"""How an extraction is written: its run, the direct result, the proposals beside it or instead of it. One transaction."""
