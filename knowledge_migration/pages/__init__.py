"""The web pages: sign-in, review and migration (strategy §10.3, §11.1), mounted on the application of the service.

Pages only render NiceGUI elements; their data and actions are in `knowledge` and `engine`, which import nothing from here.
"""
