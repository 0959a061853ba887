"""RunPod's pods on this machine: its REST API v2, and what GraphQL has of pods; a pod is a process, its image ignored.

Sources: docs.runpod.io, ``api-reference-v2/openapi.json`` (August 2026), for REST; "Manage Pods" of the GraphQL pages,
and the pages on spot pods that were removed in May 2026; runpodctl, ``internal/podstate`` for what becomes of pods that
are outbid. What none of them tells is a switch.
"""
