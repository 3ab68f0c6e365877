"""Images that strangers might send: made here, and what reading them costs."""
