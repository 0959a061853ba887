"""A batch's work on one rented machine: what is given is made once, kept on disk, and sent until it has arrived."""
