"""The report of a batch: one page with charts, and the same figures as JSON."""
