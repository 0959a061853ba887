"""All that is known about ComfyUI: its protocol, its HTTP and websocket interface, its process."""
