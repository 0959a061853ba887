"""Who rents out pods, behind one small interface: this machine's processes, RunPod's pods; and export for SkyPilot."""
