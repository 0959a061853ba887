"""What is kept outside the worker: addresses to download from, buckets, model files."""
