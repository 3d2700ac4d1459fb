"""Live traffic: what users of the application do over HTTP, measured, and afterwards proven not to be lost."""
