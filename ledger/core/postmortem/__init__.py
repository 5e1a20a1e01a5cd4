"""The incident report: from plain records of one window to one nested dict of plain values.

Pure. The store reads the records (store/report.py), the service renders the numbers.
"""
