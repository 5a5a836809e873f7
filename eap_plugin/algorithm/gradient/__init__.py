"""Methods that multiply the change of writers by gradients at readers, and what they alone use."""
