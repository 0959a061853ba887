"""What can be set in a workflow, as fields."""
