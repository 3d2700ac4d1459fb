"""The HTTP API of the service (strategy §7.3, §9.2): thin routes over the functions of `knowledge`, and access control."""
