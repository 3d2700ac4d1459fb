"""The migration and every rollback on a clone of production, restored from its backup (strategy §2.3, §8.3)."""
