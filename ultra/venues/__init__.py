"""Translation at the edge: one file a protocol, and the venues we can be ourselves."""
