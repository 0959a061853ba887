"""The Comfy API v2 in front of the master: jobs, assets, events, webhooks, for the official `comfy-sdk` unmodified."""
