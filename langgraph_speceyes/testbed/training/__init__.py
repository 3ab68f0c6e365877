"""Training the embedded pair; nothing of this is used at run time."""
