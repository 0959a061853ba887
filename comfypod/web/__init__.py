"""The web page: a small server with the API key, and the page it serves; one visitor never sees another's runs."""
