"""Tests of the extractors: the contract on hand-written and real messages, the LLM one against a real HTTP server."""
