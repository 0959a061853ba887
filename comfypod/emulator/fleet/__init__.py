"""The worker processes of the local RunPod: how many there are to be, their starts and ends, and what they cost."""
