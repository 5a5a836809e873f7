"""Methods that patch edges or writers one at a time."""
