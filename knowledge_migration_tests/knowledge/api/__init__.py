"""Tests of the HTTP API in this process: the application's whole stack but the socket, on a real database."""
