"""The batch engine: very many pictures from a manifest, planned, made on rented pods, each of them once."""
