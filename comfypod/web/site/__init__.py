"""The page's own HTTP interface: who may use it, its routes, and what they answer."""
