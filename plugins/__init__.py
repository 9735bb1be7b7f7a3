"""The samplers that come with samplerbench, one family a file, each registered through the entry point that any other
plugin uses.
"""
