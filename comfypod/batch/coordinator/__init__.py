"""The coordinator of a batch: it gives pods their items, and keeps as many pods as the plan has."""
