"""The model runner: a step that runs several models on each event, in threads, processes or coroutines.

`step` is what people write, `running` what it becomes in a server; `threads` and `processes` are where models run.
"""
