"""Methods that patch edges or writers one after another."""
