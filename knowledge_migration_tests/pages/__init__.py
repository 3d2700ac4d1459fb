"""The pages: their parts without a browser, and all of them in a real one."""
