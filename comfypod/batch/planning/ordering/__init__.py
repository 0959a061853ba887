"""In which order one pod fetches its files and makes its items."""
