"""What becomes of proposals: the queue, the list, approval, rejection, merging, undoing. Each in one transaction."""
