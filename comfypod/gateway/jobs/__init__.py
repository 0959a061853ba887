"""A job as programs see it: submitted, asked for, listed, followed, cancelled."""
