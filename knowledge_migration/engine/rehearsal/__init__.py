"""The whole path and every way back, tried on a clone of production made from its backup (strategy §2.3, §8.3)."""
