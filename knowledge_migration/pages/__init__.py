"""What people see in a browser: sign-in, review page, migration page (strategy §10.3, §11.1), over the service's application.

Here stand pages only, made of NiceGUI's elements. What they show and do stands in `knowledge` and `engine`, which know
nothing of pages; a backend that mounts the service without pages imports nothing of this.
"""
