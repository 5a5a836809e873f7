"""EAP-IG's files of a ``Graph``, in which MIB's circuit track takes circuits, too."""
