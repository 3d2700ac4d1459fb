"""What turns messages into topics and atoms: the protocol, the local extractor, the LLM one. Writes nothing."""
