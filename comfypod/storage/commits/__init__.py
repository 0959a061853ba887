"""What is done once: who is at it, and what came of it, kept in a bucket under a request's key."""

from comfypod.storage.commits.commits import Commits, Held, Lease
from comfypod.storage.commits.documents import Committed, Holder, files_folder

__all__ = ["Commits", "Committed", "Held", "Holder", "Lease", "files_folder"]
