"""Processes that decode, infer and report, and the pool that hands them patches.

The interpreter's lock lets one thread of a process run Python at a time: beside a network that takes a millisecond,
decoding and reporting in threads would wait for each other, and for HTTP.
"""
