"""What a batch is to make: rows of a file, a folder or a database, read one by one into items."""
