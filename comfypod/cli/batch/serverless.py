"""``comfypod batch run --provider serverless``: the same items as jobs of an endpoint."""
