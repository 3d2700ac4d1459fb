"""The review page: the queue, one proposal, decisions about one or many, and the history of decisions."""
