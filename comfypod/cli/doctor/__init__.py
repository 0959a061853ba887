"""``comfypod doctor``: one look at everything that a job needs, and what to do about what is wrong."""
